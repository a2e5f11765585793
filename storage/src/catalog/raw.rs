//! The catalog's trees as they are, key by key: how a backup takes them along, and how one is made of them.

use std::path::{Path, PathBuf};

use super::long_values::LongValues;
use super::{Catalog, CatalogError, LINEAGE_KEY, PAGES_TREE, open_sled};

/// sled's own tree, which nobody here uses.
const UNUSED_TREE: &[u8] = b"__sled__default";

/// A tree of an open catalog.
#[derive(Debug)]
pub(crate) struct RawTree {
    /// Its name.
    pub(crate) name: Vec<u8>,
    tree: sled::Tree,
    folder: PathBuf,
}

/// A key and its value.
pub(crate) type RawEntry = (sled::IVec, sled::IVec);

impl RawTree {
    /// Whether the state of the catalog stays true with an older state of this tree's entries left out or newer ones put in: a
    /// flush adds series and metadata before its blocks, and nothing of them is removed while nothing is merged.
    pub(crate) fn may_be_newer(&self) -> bool {
        self.name == PAGES_TREE.as_bytes() || self.name == b"metadata"
    }

    /// Its entries, ascending by key.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Result<RawEntry, CatalogError>> + '_ {
        let failed = |source| CatalogError::Sled { folder: self.folder.clone(), source };
        self.tree.iter().map(move |entry| entry.map_err(failed))
    }
}

impl Catalog {
    /// All trees. They can be read as long as the catalog is open.
    pub(crate) fn raw_trees(&self) -> Result<Vec<RawTree>, CatalogError> {
        let mut names = self.db.tree_names();
        names.retain(|name| &**name != UNUSED_TREE);
        names.sort_unstable();
        let open = |name: sled::IVec| {
            let tree = self.db.open_tree(&name).map_err(|source| self.failed(source))?;
            Ok(RawTree { name: name.to_vec(), tree, folder: self.folder.clone() })
        };
        names.into_iter().map(open).collect()
    }
}

/// A catalog that is made of the entries of another one.
#[derive(Debug)]
pub(crate) struct RawCatalog {
    folder: PathBuf,
    db: sled::Db,
    /// The tree of the entry before.
    tree: Option<(Vec<u8>, sled::Tree)>,
}

impl RawCatalog {
    /// A new one in `folder`, which is not there yet.
    pub(crate) fn create(folder: &Path) -> Result<Self, CatalogError> {
        let db = open_sled(folder).map_err(|source| CatalogError::Sled { folder: folder.to_owned(), source })?;
        Ok(Self { folder: folder.to_owned(), db, tree: None })
    }

    /// Adds an entry. The lineage is left out: what is derived from the other catalog is not of this one, and both go their own ways
    /// from here.
    pub(crate) fn insert(&mut self, tree: &[u8], key: &[u8], value: &[u8]) -> Result<(), CatalogError> {
        if tree == b"manifest" && key == LINEAGE_KEY {
            return Ok(());
        }
        let failed = |source| CatalogError::Sled { folder: self.folder.clone(), source };
        if self.tree.as_ref().is_none_or(|(name, _)| name != tree) {
            self.tree = Some((tree.to_vec(), self.db.open_tree(tree).map_err(failed)?));
        }
        if let Some((_, tree)) = &self.tree {
            tree.insert(key, value).map_err(failed)?;
        }
        Ok(())
    }

    /// Puts it on disk and lets go of it.
    pub(crate) fn finish(self) -> Result<(), CatalogError> {
        let Self { folder, db, tree } = self;
        drop(tree);
        LongValues::of(&folder).sync().map_err(|source| CatalogError::Files { folder: folder.clone(), source })?;
        db.flush().map(drop).map_err(|source| CatalogError::Sled { folder, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Change, State};
    use crate::ids::SeriesId;

    #[test]
    fn a_catalog_of_the_entries_of_another_is_the_same_but_for_its_lineage() {
        let folder = tempfile::tempdir().expect("a folder");
        let old = Catalog::open(&folder.path().join("old")).expect("new catalog");
        let up = model::Labels::from_pairs([("__name__", "up")]).expect("valid labels");
        let lineage = old.lineage().expect("given");
        old.add_series([(SeriesId(700), &up)]).expect("added");
        let state = State { flushed: 9, next_block: 8, next_series: 701 };
        old.commit(&Change { added: vec![], removed: vec![], state }).expect("committed");
        let mut new = RawCatalog::create(&folder.path().join("new")).expect("new catalog");
        for tree in old.raw_trees().expect("readable") {
            for entry in tree.entries() {
                let (key, value) = entry.expect("readable");
                new.insert(&tree.name, &key, &value).expect("written");
            }
        }
        new.finish().expect("written");
        let new = Catalog::open(&folder.path().join("new")).expect("opens");
        assert_eq!(new.version().expect("readable"), old.version().expect("readable"));
        assert_eq!(new.last_commit().expect("readable"), old.last_commit().expect("readable"));
        assert_eq!(new.series().map(Result::unwrap).collect::<Vec<_>>(), [(SeriesId(700), up)]);
        assert_ne!(new.lineage().expect("given"), lineage);
    }
}
