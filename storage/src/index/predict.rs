//! Which series comes next: what senders repeat is recognised before it is hashed.
//!
//! Ids are given out in the order of first appearance, and a sender repeats its series in the order of its last
//! request, so that the next id is the first guess for what follows a series. Where that was wrong once, the series that
//! came instead is remembered as the follower, so that senders whose series come and go are guessed right too. A guess
//! is compared with the labels that came, and means nothing until they are equal: what is remembered may be of a series
//! that is gone, or of another sender.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use model::LabelsRef;
use parking_lot::RwLock;

use super::table::{PAGE_SERIES, Page, SeriesTable, place};
use crate::ids::SeriesId;

/// No other follower than the next id; no series has this id.
const NONE: u32 = u32::MAX;

/// The followers of one page of series, by id.
type FollowerPage = [AtomicU32; PAGE_SERIES];

/// The series that follow others in requests, as far as they are not the next in the order of ids. Takes memory only
/// for pages where there is such a one.
#[derive(Debug, Default)]
pub struct Followers(RwLock<Vec<Option<Arc<FollowerPage>>>>);

impl Followers {
    fn page(&self, number: usize) -> Option<Arc<FollowerPage>> {
        self.0.read().get(number)?.clone()
    }

    /// Remembers that `next` came behind `id`.
    fn learn(&self, id: SeriesId, next: SeriesId) {
        let (number, slot) = place(id);
        let is_usual = next_id(id) == Some(next);
        let page = match self.page(number) {
            Some(page) => page,
            None if is_usual => return,
            None => {
                let mut pages = self.0.write();
                if pages.len() <= number {
                    pages.resize(number + 1, None);
                }
                pages[number].get_or_insert_with(|| Arc::new([const { AtomicU32::new(NONE) }; PAGE_SERIES])).clone()
            }
        };
        page[slot].store(if is_usual { NONE } else { next.0 }, Ordering::Relaxed);
    }

    /// Forgets what follows the series `id`, which is gone.
    pub fn forget(&self, id: SeriesId) {
        let (number, slot) = place(id);
        let Some(page) = self.page(number) else { return };
        page[slot].store(NONE, Ordering::Relaxed);
        if page.iter().all(|follower| follower.load(Ordering::Relaxed) == NONE) {
            self.0.write()[number] = None;
        }
    }
}

/// A place in the order of one sender's series.
#[derive(Debug)]
pub struct Predictor<'t, S = ahash::RandomState> {
    table: &'t SeriesTable<S>,
    followers: &'t Followers,
    /// The series that came last.
    last: Option<SeriesId>,
    /// The one that should come now.
    guess: Option<SeriesId>,
    /// The page of the guess before, with its number.
    page: Option<(usize, Arc<Page>)>,
    /// The followers of the page of the last series, with its number.
    follower_page: Option<(usize, Option<Arc<FollowerPage>>)>,
}

impl<'t, S: BuildHasher> Predictor<'t, S> {
    /// A place before the first series of a request.
    pub fn new(table: &'t SeriesTable<S>, followers: &'t Followers) -> Self {
        Self { table, followers, last: None, guess: None, page: None, follower_page: None }
    }

    /// The series of `labels`, if it exists.
    pub fn resolve(&mut self, labels: LabelsRef<'_>) -> Option<SeriesId> {
        self.guess(&mut |guessed| guessed == labels).or_else(|| self.find(labels))
    }

    /// The first guess whose labels `is_next` holds for, which then came last. `is_next` must not use the table.
    #[inline]
    pub fn guess(&mut self, is_next: &mut dyn FnMut(LabelsRef<'_>) -> bool) -> Option<SeriesId> {
        let first = self.guess?;
        if self.fits(first, is_next) {
            self.came(first);
            return Some(first);
        }
        let second = self.last.and_then(next_id).filter(|&second| second != first)?;
        if !self.fits(second, is_next) {
            return None;
        }
        self.learn(second);
        Some(second)
    }

    /// Hands guess after guess to `take` for as long as it holds; each of these came then. A page is locked once for the
    /// guesses in a row that lie in it. `take` must not use the table.
    pub fn guess_run(&mut self, take: &mut dyn FnMut(SeriesId, LabelsRef<'_>) -> bool) {
        while let Some(first) = self.guess {
            let number = place(first).0;
            let (Some(page), followers) = (self.page_of(number).cloned(), self.followers_of(number).cloned()) else {
                return;
            };
            let names = page.read();
            // Whoever waits for the page waits for as many series as it has at most.
            for _ in 0..PAGE_SERIES {
                let Some(id) = self.guess.filter(|&id| place(id).0 == number) else { break };
                let slot = place(id).1;
                if !names.get(slot).is_some_and(|labels| take(id, labels)) {
                    return;
                }
                (self.last, self.guess) = (Some(id), follower(followers.as_deref(), id));
            }
        }
    }

    /// The series of `labels`, which no guess was right about, if it exists; then it came last.
    pub fn find(&mut self, labels: LabelsRef<'_>) -> Option<SeriesId> {
        let id = self.table.find(labels)?;
        self.learn(id);
        Some(id)
    }

    #[inline]
    fn fits(&mut self, id: SeriesId, is_next: &mut dyn FnMut(LabelsRef<'_>) -> bool) -> bool {
        let (number, slot) = place(id);
        let Some(page) = self.page_of(number) else { return false };
        page.read().get(slot).is_some_and(is_next)
    }

    fn learn(&mut self, id: SeriesId) {
        if let Some(last) = self.last {
            self.followers.learn(last, id);
        }
        self.came(id);
    }

    #[inline]
    fn came(&mut self, id: SeriesId) {
        let guess = follower(self.followers_of(place(id).0).map(Arc::as_ref), id);
        (self.last, self.guess) = (Some(id), guess);
    }

    #[inline]
    fn page_of(&mut self, number: usize) -> Option<&Arc<Page>> {
        if self.page.as_ref().is_none_or(|(known, _)| *known != number) {
            self.page = self.table.page(number).map(|page| (number, page));
        }
        self.page.as_ref().map(|(_, page)| page)
    }

    #[inline]
    fn followers_of(&mut self, number: usize) -> Option<&Arc<FollowerPage>> {
        if self.follower_page.as_ref().is_none_or(|(known, _)| *known != number) {
            self.follower_page = Some((number, self.followers.page(number)));
        }
        self.follower_page.as_ref().and_then(|(_, page)| page.as_ref())
    }
}

/// The series that came behind `id` before, as `page`, that of `id`, remembers it.
#[inline]
fn follower(page: Option<&FollowerPage>, id: SeriesId) -> Option<SeriesId> {
    let follower = page.map_or(NONE, |page| page[place(id).1].load(Ordering::Relaxed));
    if follower == NONE { next_id(id) } else { Some(SeriesId(follower)) }
}

fn next_id(id: SeriesId) -> Option<SeriesId> {
    id.0.checked_add(1).map(SeriesId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::hash::{BuildHasherDefault, Hasher};

    /// Everything collides.
    #[derive(Debug, Default)]
    struct Same;

    impl Hasher for Same {
        fn finish(&self) -> u64 {
            7
        }

        fn write(&mut self, _: &[u8]) {}
    }

    fn labels(at: u32) -> Labels {
        Labels::from_pairs([("__name__", "m".to_owned()), ("at", at.to_string())]).expect("valid labels")
    }

    fn table(series: u32) -> SeriesTable {
        let table = SeriesTable::default();
        (0..series).for_each(|id| table.insert(SeriesId(id), &labels(id)));
        table
    }

    /// Sends `order` once; how many of it were guessed.
    fn send(table: &SeriesTable, followers: &Followers, order: &[u32]) -> usize {
        let mut predictor = Predictor::new(table, followers);
        let (mut guessed, mut rest) = (0, order);
        loop {
            let run = guess_run(&mut predictor, &mut rest);
            assert!(run.iter().all(|&(at, id)| table.find(labels(at).as_ref()) == Some(id)), "{run:?}");
            guessed += run.len();
            let Some((&at, behind)) = rest.split_first() else { return guessed };
            rest = behind;
            let of = labels(at);
            let found = match predictor.guess(&mut |guess| guess == of.as_ref()) {
                Some(id) => {
                    guessed += 1;
                    Some(id)
                }
                None => predictor.find(of.as_ref()),
            };
            assert_eq!(found, table.find(of.as_ref()), "series {at}");
        }
    }

    /// Takes from the front of `rest` what is guessed in a row.
    fn guess_run<S: BuildHasher>(predictor: &mut Predictor<'_, S>, rest: &mut &[u32]) -> Vec<(u32, SeriesId)> {
        let mut run = Vec::new();
        predictor.guess_run(&mut |id, guess| {
            let next = rest.split_first().filter(|(at, _)| labels(**at).as_ref() == guess);
            let Some((&at, behind)) = next else { return false };
            *rest = behind;
            run.push((at, id));
            true
        });
        run
    }

    #[test]
    fn an_order_is_known_the_second_time() {
        let table = table(600);
        let followers = Followers::default();
        let orders: [Vec<u32>; 4] =
            [(0..600).collect(), (0..600).rev().collect(), (0..600).step_by(7).collect(), vec![5, 599, 0, 300, 1]];
        assert_eq!(send(&table, &followers, &orders[0]), 599, "the order of ids is known from the start");
        assert!(followers.0.read().is_empty(), "and takes no memory");
        for order in &orders {
            send(&table, &followers, order);
            assert_eq!(send(&table, &followers, order), order.len() - 1, "{order:?}");
        }
    }

    #[test]
    fn senders_with_series_of_their_own_do_not_disturb_each_other() {
        let table = table(100);
        let followers = Followers::default();
        let (even, odd): (Vec<u32>, Vec<u32>) = (0..100).rev().partition(|at| at % 2 == 0);
        for _ in 0..2 {
            send(&table, &followers, &even);
            send(&table, &followers, &odd);
        }
        assert_eq!(send(&table, &followers, &even) + send(&table, &followers, &odd), 98);
    }

    #[test]
    fn a_series_that_is_gone_is_never_guessed() {
        let table = table(3);
        let followers = Followers::default();
        send(&table, &followers, &[0, 2]);
        table.remove(SeriesId(2));
        let mut predictor = Predictor::new(&table, &followers);
        assert_eq!(predictor.resolve(labels(0).as_ref()), Some(SeriesId(0)));
        assert_eq!(predictor.guess(&mut |guess| guess == labels(2).as_ref()), None);
        assert_eq!(predictor.find(labels(2).as_ref()), None);
        table.insert(SeriesId(3), &labels(2));
        assert_eq!(predictor.resolve(labels(2).as_ref()), Some(SeriesId(3)));
        assert_eq!(send(&table, &followers, &[0, 2]), 1, "the new one is learned");
        followers.forget(SeriesId(0));
        assert!(followers.0.read().iter().all(Option::is_none), "what is forgotten takes no memory");
    }

    proptest! {
        /// Whatever comes and goes, in whatever order, and with one hash for all: labels decide.
        #[test]
        fn guesses_change_no_answer(requests in prop::collection::vec(
            (prop::collection::vec(0u32..24, 0..40), prop::collection::vec(0u32..24, 0..4)), 1..12),
        ) {
            let table = SeriesTable::<BuildHasherDefault<Same>>::default();
            let followers = Followers::default();
            let mut known = BTreeMap::new();
            let mut next = 0;
            for (sent, gone) in requests {
                let mut predictor = Predictor::new(&table, &followers);
                let mut rest = sent.as_slice();
                while let Some((&at, behind)) = rest.split_first() {
                    rest = behind;
                    let found = predictor.resolve(labels(at).as_ref());
                    prop_assert_eq!(found, known.get(&at).copied());
                    if found.is_none() && at % 3 > 0 {
                        // Ids beside the page, so that pages come and go.
                        known.insert(at, SeriesId(next * 100));
                        table.insert(SeriesId(next * 100), &labels(at));
                        next += 1;
                    }
                    let run = guess_run(&mut predictor, &mut rest);
                    prop_assert!(run.iter().all(|(at, id)| known.get(at) == Some(id)), "{run:?} of {known:?}");
                }
                for id in gone.iter().filter_map(|at| known.remove(at)) {
                    table.remove(id);
                    followers.forget(id);
                }
            }
        }
    }
}
