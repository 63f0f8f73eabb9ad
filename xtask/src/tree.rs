//! Which files there are.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// Paths of all files of the tree, relative to `root`: what git tracks or would, or, where there is no git, all but build output.
pub(crate) fn files(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut paths = if let Some(paths) = from_git(root) { paths } else { walk(root)? };
    // Git lists what it tracks, also when it has just been removed.
    paths.retain(|path| root.join(path).is_file());
    paths.sort();
    paths.dedup();
    Ok(paths)
}

fn from_git(root: &Path) -> Option<Vec<String>> {
    // The check reads and runs nothing of the repository's own configuration, so another user's checkout is as good as ours.
    let args = ["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(args).current_dir(root).output().ok()?;
    if !output.status.success() {
        return None;
    }
    Some(String::from_utf8(output.stdout).ok()?.split_terminator('\0').map(str::to_owned).collect())
}

fn walk(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                if entry.file_name() != "target" && entry.file_name() != ".git" {
                    folders.push(entry.path());
                }
            } else if let Some(path) = entry.path().strip_prefix(root)?.to_str() {
                found.push(path.to_owned());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn this_file_is_found_with_git_and_without() {
        let this = "xtask/src/tree.rs".to_owned();
        assert!(files(workspace::root()).unwrap().contains(&this));
        let walked = walk(workspace::root()).unwrap();
        assert!(walked.contains(&this) && !walked.iter().any(|path| path.starts_with("target/")));
    }
}
