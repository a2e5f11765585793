//! The index files' part of a check: each is whole, and finds what the catalog has.
//!
//! They are derived, so that nothing is lost where one is not: but one that finds other labels than the catalog would
//! mislead, and must be found out.

use std::path::PathBuf;
use std::sync::Arc;

use model::Labels;

use super::Check;
use crate::damage::Damage;
use crate::files::FileError;
use crate::ids::SeriesId;
use crate::index::cold::{FOLDER_NAME, IndexFile, IndexFileError, PageLabels, Stamp, file_number};
use crate::index::table::PAGE_SERIES;

const REMEDY: &str = "open the folder: the file is removed then, and made again from the catalog";
const COSTS: &str = "nothing but memory, until the file is made again";
const REMEDY_DIFFERS: &str = "remove the file: it is made again from the catalog";

/// The files that are whole.
#[derive(Debug, Default)]
pub(super) struct IndexFiles(Vec<Open>);

#[derive(Debug)]
struct Open {
    file: IndexFile,
    /// The page that was looked at last.
    page: Option<(u32, Arc<PageLabels>)>,
    differs: u64,
}

impl Check<'_> {
    /// Opens the index files of the catalog that `as_of` tells of, and reports those that are damaged.
    pub(super) fn index_files(&mut self, as_of: Stamp) -> IndexFiles {
        let folder = self.folder.join(FOLDER_NAME);
        let mut open = IndexFiles::default();
        let entries = self.list(FOLDER_NAME).unwrap_or_else(|error| {
            self.unreadable_index(folder.clone(), &error);
            Vec::new()
        });
        for entry in entries {
            let path = folder.join(&entry.name);
            self.reading(&path);
            self.report.index_files += 1;
            self.report.index_bytes += entry.bytes;
            if file_number(&entry.name).is_none() {
                self.report.note(path, "is no index file, or none that was finished");
                continue;
            }
            match IndexFile::open(&self.files, &path) {
                Ok(file) if file.stamp().lineage != as_of.lineage || file.stamp().commit > as_of.commit => {
                    self.report.note(path, "is an index file of another catalog; opening the folder removes it");
                }
                Ok(file) => open.0.push(Open { file, page: None, differs: 0 }),
                Err(IndexFileError::File(error)) => self.unreadable_index(path, &error),
                Err(IndexFileError::Damaged(damage)) => {
                    self.report.problem(Damage { bytes: entry.bytes, ..damage }, COSTS, REMEDY);
                }
            }
        }
        open
    }

    fn unreadable_index(&mut self, file: PathBuf, error: &FileError) {
        let damage = Damage { file, offset: 0, bytes: 0, detail: error.to_string() };
        self.report.problem(damage, COSTS, "look at the disk and at permissions");
    }

    /// Reports the files that find other labels than the catalog has.
    pub(super) fn index_differs(&mut self, files: IndexFiles) {
        for Open { file, differs, .. } in files.0.into_iter().filter(|open| open.differs > 0) {
            let detail = format!("{differs} series have other labels than in the catalog, or are not found by them");
            let damage = Damage { file: file.path().to_owned(), offset: 0, bytes: file.len_bytes(), detail };
            self.report.problem(damage, "queries answer with wrong series", REMEDY_DIFFERS);
        }
    }
}

impl IndexFiles {
    /// Holds what the files have of a series against its labels; series come by id.
    pub(super) fn compare(&mut self, id: SeriesId, labels: &Labels) {
        for open in self.0.iter_mut().filter(|open| open.file.ids().contains(id.0)) {
            open.differs += u64::from(!open.agrees(id, labels));
        }
    }
}

impl Open {
    fn agrees(&mut self, id: SeriesId, labels: &Labels) -> bool {
        let number = u32::try_from(id.0 as usize / PAGE_SERIES).unwrap_or(u32::MAX);
        let page = match &self.page {
            Some((known, page)) if *known == number => page.clone(),
            _ => {
                let Ok(page) = self.file.labels_of_page(number).map(Arc::new) else { return false };
                self.page = Some((number, page.clone()));
                page
            }
        };
        let slot = id.0.to_le_bytes()[0];
        let has = page.iter().any(|(of, known)| *of == slot && known == labels);
        has && self.file.may_be(labels.as_ref(), id)
    }
}
