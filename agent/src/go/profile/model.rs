//! A profile: samples with stacks, whatever form it came in. Texts are shared, frames are looked up by number, so that a
//! profile takes about the memory of its encoded form. There are no mappings: Go names the functions itself.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A text that many places share.
pub type Text = Arc<str>;

/// What the values of samples are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ValueType {
    /// What is counted, such as `inuse_space`.
    pub kind: Text,
    /// Its unit, such as `bytes`.
    pub unit: Text,
}

impl ValueType {
    /// `kind`, counted in `unit`.
    pub fn new(kind: &str, unit: &str) -> Self {
        Self { kind: kind.into(), unit: unit.into() }
    }
}

/// A function of the program.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Function {
    /// Its full name, such as `main.(*server).run.func1`.
    pub name: Text,
    /// The file it is written in.
    pub file: Text,
    /// The line it starts at; 0 where that is not told.
    pub start_line: i64,
}

/// A line of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Line {
    /// Number of the function in [`Profile::functions`].
    pub function: u32,
    /// The line; 0 where that is not told.
    pub line: i64,
}

/// An instruction of the program, which belongs to several functions where some are inlined.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Location {
    /// Its address; 0 where that is not told.
    pub address: u64,
    /// The functions it belongs to, innermost first: all but the last are inlined. None where it has no name.
    pub lines: Vec<Line>,
}

/// The value of a label of samples.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LabelValue {
    /// A text, as set by the program.
    Text(Text),
    /// A number and its unit, such as the size of objects in `bytes`.
    Number(i64, Text),
}

/// One stack and what was measured there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sample {
    /// Numbers in [`Profile::locations`], the leaf first.
    pub stack: Vec<u32>,
    /// One value for each of [`Profile::sample_types`].
    pub values: Vec<i64>,
    /// Labels in the order they came.
    pub labels: Vec<(Text, LabelValue)>,
}

impl Sample {
    /// The text of the label called `name`.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find_map(|(own, value)| match value {
            LabelValue::Text(text) if &**own == name => Some(&**text),
            _ => None,
        })
    }
}

/// A profile. Numbers in it that point nowhere are passed over by those who read it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// What the values of each sample are.
    pub sample_types: Vec<ValueType>,
    /// The samples.
    pub samples: Vec<Sample>,
    /// The instructions in their stacks.
    pub locations: Vec<Location>,
    /// The functions that these belong to.
    pub functions: Vec<Function>,
    /// Kind of the values that viewers show first; empty for the last.
    pub default_type: Text,
    /// What lies between two samples, where they are taken at a rate.
    pub period_type: Option<ValueType>,
    /// How much of it.
    pub period: i64,
    /// When it was taken, in nanoseconds since the Unix epoch; 0 where that is not told.
    pub time_ns: i64,
    /// How long was measured, in nanoseconds; 0 for a state.
    pub duration_ns: i64,
    /// Remarks.
    pub comments: Vec<Text>,
}

/// One frame of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Full name of the function; empty for an address without name.
    pub function: &'a str,
    /// The file of the function.
    pub file: &'a str,
    /// The line the frame is at; 0 where that is not told.
    pub line: i64,
    /// The line the function starts at; 0 where that is not told.
    pub start_line: i64,
    /// Address of the instruction.
    pub address: u64,
    /// Whether the function is inlined in that of the next frame.
    pub inlined: bool,
}

impl Profile {
    /// The frames of `sample`, the leaf first, inlined ones too.
    pub fn frames<'a>(&'a self, sample: &'a Sample) -> impl Iterator<Item = Frame<'a>> + Clone {
        let located = sample.stack.iter().filter_map(|at| self.locations.get(*at as usize));
        located.flat_map(|location| self.frames_of(location))
    }

    fn frames_of<'a>(&'a self, location: &'a Location) -> impl Iterator<Item = Frame<'a>> + Clone {
        let nameless =
            Frame { function: "", file: "", line: 0, start_line: 0, address: location.address, inlined: false };
        let last = location.lines.len().saturating_sub(1);
        let named = location.lines.iter().enumerate().filter_map(move |(at, line)| {
            let function = self.functions.get(line.function as usize)?;
            Some(Frame {
                function: &function.name,
                file: &function.file,
                line: line.line,
                start_line: function.start_line,
                inlined: at < last,
                ..nameless
            })
        });
        named.chain(location.lines.is_empty().then_some(nameless))
    }

    /// Which of each sample's values is of `kind`.
    pub fn value_index(&self, kind: &str) -> Option<usize> {
        self.sample_types.iter().position(|own| &*own.kind == kind)
    }

    /// Sum of the values of number `index` of all samples.
    pub fn total(&self, index: usize) -> i64 {
        let values = self.samples.iter().filter_map(|sample| sample.values.get(index));
        values.fold(0, |sum, value| sum.saturating_add(*value))
    }
}

/// Builds a profile from named frames, each function and location once.
#[derive(Debug, Default)]
pub struct Builder {
    profile: Profile,
    texts: HashSet<Text>,
    functions: HashMap<Function, u32>,
    locations: HashMap<Location, u32>,
}

impl Builder {
    /// A profile with values of `sample_types`.
    pub fn new(sample_types: Vec<ValueType>) -> Self {
        Self { profile: Profile { sample_types, ..Profile::default() }, ..Self::default() }
    }

    /// `text`, shared with all that are the same.
    pub fn text(&mut self, text: &str) -> Text {
        if let Some(own) = self.texts.get(text) {
            return Arc::clone(own);
        }
        let own: Text = text.into();
        self.texts.insert(Arc::clone(&own));
        own
    }

    /// Number of the function called `name` in `file`.
    pub fn function(&mut self, name: &str, file: &str, start_line: i64) -> u32 {
        let function = Function { name: self.text(name), file: self.text(file), start_line };
        number(&mut self.functions, &mut self.profile.functions, function)
    }

    /// Number of the location at `address` with `lines`, innermost first.
    pub fn location(&mut self, address: u64, lines: Vec<Line>) -> u32 {
        number(&mut self.locations, &mut self.profile.locations, Location { address, lines })
    }

    /// Adds a sample with `stack`, the leaf first.
    pub fn sample(&mut self, stack: Vec<u32>, values: Vec<i64>, labels: Vec<(Text, LabelValue)>) {
        self.profile.samples.push(Sample { stack, values, labels });
    }

    /// How many samples there are.
    pub fn samples_len(&self) -> usize {
        self.profile.samples.len()
    }

    /// How many functions and locations there are.
    pub fn frames_len(&self) -> usize {
        self.profile.functions.len() + self.profile.locations.len()
    }

    /// What is known of the profile beside its samples.
    pub fn about(&mut self) -> &mut Profile {
        &mut self.profile
    }

    /// The profile.
    pub fn finish(self) -> Profile {
        self.profile
    }
}

/// The number of `item` in `all`, where it is added when it is new. Those beyond 2^32, which nobody can hold, share one.
fn number<T: Clone + Eq + std::hash::Hash>(known: &mut HashMap<T, u32>, all: &mut Vec<T>, item: T) -> u32 {
    *known.entry(item).or_insert_with_key(|item| {
        all.push(item.clone());
        u32::try_from(all.len() - 1).unwrap_or(u32::MAX)
    })
}
