//! The names inside a backup's folder. Only files with such names are ever made, replaced or removed in one.

/// The manifest: there is a backup once it is there.
pub const MANIFEST: &str = "MANIFEST";
/// Says that a folder without manifest is to become a backup.
pub const UNFINISHED: &str = "UNFINISHED";
/// The folder of blocks.
pub const BLOCKS: &str = "blocks";
/// Locked while somebody works on the folder.
pub const LOCK: &str = "LOCK";
/// Says that a data folder is being restored and may not be opened.
pub const RESTORING: &str = "RESTORING";
/// What the catalog's file begins with, before its number.
const CATALOG_PREFIX: &str = "catalog-";
const BLOCK_SUFFIX: &str = ".blk";
const TMP_SUFFIX: &str = ".tmp";
/// What a new disk has of its own.
pub(super) const LOST_AND_FOUND: &str = "lost+found";

/// The file with the catalog of backup `number`.
pub fn catalog(number: u64) -> String {
    format!("{CATALOG_PREFIX}{number}")
}

/// The file that a block has in a backup: blocks of one name but of other bytes have files of their own.
pub fn block(file: &str, stamp: u32) -> String {
    format!("{}-{stamp:08x}{BLOCK_SUFFIX}", file.strip_suffix(BLOCK_SUFFIX).unwrap_or(file))
}

/// Whether it is the name of a block in a data folder: 8 to 20 digits and `.blk`.
pub(super) fn is_block(name: &str) -> bool {
    name.strip_suffix(BLOCK_SUFFIX).is_some_and(|number| (8..=20).contains(&number.len()) && is_number(number))
}

/// Whether a backup may have made a file of this name in its folder of blocks, finished or not.
pub(super) fn is_block_of_backup(name: &str) -> bool {
    let name = name.strip_suffix(TMP_SUFFIX).unwrap_or(name);
    let stem = name.strip_suffix(BLOCK_SUFFIX).and_then(|stem| stem.rsplit_once('-'));
    stem.is_some_and(|(number, stamp)| {
        let is_stamp = stamp.len() == 8 && stamp.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_stamp && is_block(&format!("{number}{BLOCK_SUFFIX}"))
    })
}

/// Whether a backup may have made a file of this name in its folder, finished or not; the manifest and the lock aside.
pub(super) fn is_of_backup(name: &str) -> bool {
    let is_catalog = name.strip_prefix(CATALOG_PREFIX).is_some_and(|number| number.len() <= 20 && is_number(number));
    is_catalog || name == UNFINISHED || name.strip_suffix(TMP_SUFFIX) == Some(MANIFEST)
}

/// Whether a file is one that was not finished.
pub(super) fn is_tmp(name: &str) -> bool {
    name.ends_with(TMP_SUFFIX)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_backup_makes_is_its_own() {
        assert_eq!(block("00000012.blk", 0xab), "00000012-000000ab.blk");
        for name in [&block("00000012.blk", 0), "00000012-ffffffff.blk.tmp", "12345678901234567890-00000000.blk"] {
            assert!(is_block_of_backup(name), "{name}");
        }
        for name in
            ["00000012.blk", "0000012-00000000.blk", "00000012-0000000G.blk", "00000012-00000000", "x-00000000.blk"]
        {
            assert!(!is_block_of_backup(name), "{name}");
        }
        for name in [&catalog(7), UNFINISHED, "MANIFEST.tmp"] {
            assert!(is_of_backup(name), "{name}");
        }
        for name in [MANIFEST, LOCK, "catalog", "catalog-", "catalog-7x", "catalog-7.tmp", "passwd"] {
            assert!(!is_of_backup(name), "{name}");
        }
    }
}
