//! The catalog's trees as they are, key by key: how a backup takes them along, and how one is made of them.

use std::path::{Path, PathBuf};

use super::{Catalog, CatalogError, PAGES_TREE, open_sled};

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

    /// Adds an entry.
    pub(crate) fn insert(&mut self, tree: &[u8], key: &[u8], value: &[u8]) -> Result<(), CatalogError> {
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
        db.flush().map(drop).map_err(|source| CatalogError::Sled { folder, source })
    }
}
