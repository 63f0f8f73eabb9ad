//! Nothing committed may name the machine it was written on: such a path works once, there, and nowhere else.

use super::Violation;

/// Beginnings of absolute paths that belong to somebody's machine. Spelt in parts, since this file is checked as well.
const FOREIGN: [&str; 2] = [concat!("/", "work/"), concat!("/", "root/")];
/// Homes; a user's name follows.
const HOMES: [&str; 2] = [concat!("/", "home/"), concat!("/", "Users/")];
/// A folder beside the repository.
const BESIDE: &str = concat!("../", "shared");

/// Every line of any text file.
pub(super) fn check(path: &str, text: &str) -> Vec<Violation> {
    let named = text.lines().enumerate().filter_map(|(line, text)| Some((line, place(text)?)));
    named
        .map(|(line, place)| Violation {
            path: path.into(),
            line: line + 1,
            law: "places",
            remedy: format!(
                "names `{place}`, which is on one machine only; take it from the configuration or a relative path"
            ),
        })
        .collect()
}

/// The foreign place that a line names, if it does.
fn place(line: &str) -> Option<&'static str> {
    let begins_path = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || ".-_/)}>*".contains(c));
    let is_home = |rest: &str| {
        let user = rest.find(|c: char| !c.is_alphanumeric() && !"._-".contains(c)).unwrap_or(rest.len());
        user > 0 && rest[user..].starts_with('/')
    };
    let foreign = FOREIGN.into_iter().find(|place| line.match_indices(place).any(|(at, _)| begins_path(at)));
    let home = || {
        let named = |place: &&str| {
            line.match_indices(*place).any(|(at, _)| begins_path(at) && is_home(&line[at + place.len()..]))
        };
        HOMES.into_iter().find(named)
    };
    foreign.or_else(home).or_else(|| line.contains(BESIDE).then_some(BESIDE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_one_machine_are_seen() {
        for place in FOREIGN {
            assert_eq!(check("a.md", &format!("one\nsee `{place}main/x`"))[0].line, 2);
            assert!(check("a.md", place).len() == 1, "alone on its line");
            assert!(check("a.sh", &format!("cd $base{place}x; cd target{place}")).is_empty(), "parts of other paths");
        }
        assert_eq!(check("a.rs", &format!("\"{}me/x\"", HOMES[0])).len(), 1);
        assert_eq!(check("a.rs", &format!("[x]({BESIDE}/y.md)")).len(), 1);
        assert!(check("a.rs", &format!("a mount point: {}me", HOMES[0])).is_empty());
    }
}
