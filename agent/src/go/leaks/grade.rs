//! Grades of evidence that goroutines leak.

/// How strong the evidence is that goroutines of a process, or of one site, leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Grade {
    /// No evidence.
    #[default]
    Nothing,
    /// 0: all goroutines of the process together become more, and load does not explain it.
    Hint,
    /// 1: window after window more goroutines were started than ended.
    Suspect,
    /// 2: the floor of one site rises and rises.
    Probable,
    /// 3: at one site those that have been blocked for long become more and more.
    Strong,
    /// 4: the runtime found them unreachable: nothing can ever wake them.
    Proved,
}

impl Grade {
    /// The grade as the value of a sample: −1 for no evidence, then 0 to 4.
    pub const fn number(self) -> i8 {
        match self {
            Self::Nothing => -1,
            Self::Hint => 0,
            Self::Suspect => 1,
            Self::Probable => 2,
            Self::Strong => 3,
            Self::Proved => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_as_grades_do() {
        let all = [Grade::Nothing, Grade::Hint, Grade::Suspect, Grade::Probable, Grade::Strong, Grade::Proved];
        assert!(all.is_sorted() && all.map(Grade::number).is_sorted());
        assert_eq!((Grade::default().number(), Grade::Proved.number()), (-1, 4));
    }
}
