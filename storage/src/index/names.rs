//! The labels of the series of one page, in few texts.
//!
//! What is inserted together shares a [text](LabelSets), so that a label set takes its bytes and six more: a fat pointer, two counters
//! and what an allocator adds would be some fifty. Series come by the thousand when a sender is new and when a folder is opened. Where they
//! come one by one, the texts of a page are made one when there are many; and when most of what they hold is gone.

use model::{LabelSets, Labels, LabelsRef};

use super::table::PAGE_SERIES;

/// More texts than these become one.
const TEXTS_MAX: usize = 16;

/// The labels of a page's series, by their place in the page.
#[derive(Debug)]
pub(super) struct Names {
    texts: Vec<LabelSets>,
    places: Box<[Place; PAGE_SERIES]>,
    /// Series that are here, and sets in the texts, those of series that are gone included.
    series: u16,
    sets: u16,
}

/// Where a set is: the number of its text, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    text: u8,
    set: u8,
}

impl Place {
    /// Of no set: there are fewer texts.
    const NONE: Self = Self { text: u8::MAX, set: 0 };
}

impl Default for Names {
    fn default() -> Self {
        Self { texts: Vec::new(), places: Box::new([Place::NONE; PAGE_SERIES]), series: 0, sets: 0 }
    }
}

impl Names {
    /// The labels of the series at `slot`.
    #[inline]
    pub(super) fn get(&self, slot: usize) -> Option<LabelsRef<'_>> {
        let place = self.places[slot];
        self.texts.get(usize::from(place.text))?.get(usize::from(place.set))
    }

    /// As [`get`](Self::get), to be kept.
    pub(super) fn share(&self, slot: usize) -> Option<Labels> {
        let place = self.places[slot];
        self.texts.get(usize::from(place.text))?.share(usize::from(place.set))
    }

    /// Whether no series is here.
    pub(super) fn is_empty(&self) -> bool {
        self.series == 0
    }

    /// Adds series, whose places are free.
    pub(super) fn insert(&mut self, series: &[(usize, LabelsRef<'_>)]) {
        self.push(series);
        self.series += count(series.len());
        if self.texts.len() > TEXTS_MAX {
            self.tidy();
        }
    }

    /// Removes a series.
    pub(super) fn remove(&mut self, slot: usize) {
        if std::mem::replace(&mut self.places[slot], Place::NONE) != Place::NONE {
            self.series -= 1;
        }
        if self.series < self.sets / 2 {
            self.tidy();
        }
    }

    fn push(&mut self, series: &[(usize, LabelsRef<'_>)]) {
        let sets: Vec<LabelsRef<'_>> = series.iter().map(|(_, labels)| *labels).collect();
        let mut done = 0;
        while done < sets.len() {
            let text = LabelSets::new(&sets[done..]);
            let number = u8::try_from(self.texts.len()).expect("texts are made one before there are so many");
            for (set, (slot, _)) in (0..=u8::MAX).zip(&series[done..done + text.len()]) {
                self.places[*slot] = Place { text: number, set };
            }
            self.sets += count(text.len());
            done += text.len();
            self.texts.push(text);
        }
    }

    /// Makes one text of all, without what is gone.
    fn tidy(&mut self) {
        let texts = std::mem::take(&mut self.texts);
        let places = std::mem::replace(&mut *self.places, [Place::NONE; PAGE_SERIES]);
        let of = |place: Place| texts.get(usize::from(place.text))?.get(usize::from(place.set));
        let kept: Vec<(usize, LabelsRef<'_>)> =
            places.iter().enumerate().filter_map(|(slot, &place)| Some((slot, of(place)?))).collect();
        self.sets = 0;
        self.push(&kept);
    }
}

/// A number of series of a page.
fn count(series: usize) -> u16 {
    u16::try_from(series).expect("a page has fewer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn labels(at: usize) -> Labels {
        Labels::from_pairs([("__name__", "m".to_owned()), ("at", at.to_string())]).expect("valid labels")
    }

    proptest! {
        /// Whatever comes and goes, alone or together, each series has its own labels, in few texts with little that is gone.
        #[test]
        fn each_series_has_its_labels(steps in prop::collection::vec((0..PAGE_SERIES, 1usize..60, any::<bool>()), 0..80)) {
            let (mut names, mut model) = (Names::default(), BTreeMap::new());
            for (at, (first, many, adds)) in steps.into_iter().enumerate() {
                let slots = (0..many).map(|next| (first + next * 7) % PAGE_SERIES);
                if adds {
                    let new: BTreeMap<usize, Labels> =
                        slots.filter(|slot| !model.contains_key(slot)).map(|slot| (slot, labels(slot + at * 1000))).collect();
                    names.insert(&new.iter().map(|(slot, labels)| (*slot, labels.as_ref())).collect::<Vec<_>>());
                    model.extend(new);
                } else {
                    for slot in slots {
                        names.remove(slot);
                        model.remove(&slot);
                    }
                }
                for slot in 0..PAGE_SERIES {
                    prop_assert_eq!(names.get(slot), model.get(&slot).map(Labels::as_ref));
                    prop_assert_eq!(&names.share(slot), &model.get(&slot).cloned());
                }
                prop_assert_eq!(names.is_empty(), model.is_empty());
                let sets: usize = names.texts.iter().map(LabelSets::len).sum();
                prop_assert!(names.texts.len() <= TEXTS_MAX && sets <= 2 * model.len() + 1, "{} {sets}", names.texts.len());
            }
        }
    }

    #[test]
    fn a_series_takes_two_bytes_of_the_page() {
        assert_eq!(size_of::<Place>(), 2);
    }
}
