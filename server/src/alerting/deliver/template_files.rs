//! Template files of a routing file: found beside it and read within bounds.

use std::path::Path;

use rules::receivers::Templates;
use rules::template::TEMPLATE_BYTES_MAX;

use crate::alerting::glob;

/// Our templates, and those of the files that `patterns` name: paths, begun at the folder of `file`, whose last part may have `*`, `?` and `[…]`.
///
/// # Errors
///
/// What cannot be read, or is wrong in which line of which file.
pub fn load_templates(file: &Path, patterns: &[String]) -> Result<Templates, String> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut texts = Vec::new();
    for pattern in patterns {
        let path = folder.join(pattern);
        let found =
            glob::matching(&path.to_string_lossy()).map_err(|error| format!("templates {pattern:?}: {error}"))?;
        for path in found {
            let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
            let length = std::fs::metadata(&path).map_err(wrong)?.len();
            if length > TEMPLATE_BYTES_MAX as u64 {
                return Err(format!("{}: {length} bytes; {TEMPLATE_BYTES_MAX} are allowed", path.display()));
            }
            texts.push((path.display().to_string(), std::fs::read_to_string(&path).map_err(wrong)?));
        }
    }
    let texts = texts.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    Templates::new(texts).map_err(|faults| {
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        told.join("\n")
    })
}
