//! Laws about what Rust code says: names, attributes, paths.

use super::Violation;
use crate::source::Source;

/// All laws of this module, on one file.
pub(super) fn check(path: &str, source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut add = |line: usize, law, remedy: String| {
        found.push(Violation { path: path.into(), line: line + 1, law, remedy });
    };
    for (line, code) in source.code.iter().enumerate() {
        if !path.starts_with("crypto/") && !source.test[line] {
            for name in words(code).filter(|word| names_algorithm(word)) {
                add(
                    line,
                    "algorithms",
                    format!("`{name}`: only crypto/ names an algorithm; ask it for a policy or a name"),
                );
            }
        }
        if code.contains("#[ignore") {
            add(line, "ignored test", "name it long_… if it takes long, mend it if it fails, or remove it".into());
        }
        // Clock itself must sleep somehow; everything else waits on it or on what it waits for.
        let clock = path.starts_with("runtime/") && !source.test[line];
        if !clock && ["thread::sleep(", "time::sleep("].iter().any(|call| code.contains(call)) {
            add(line, "sleep", "wait for the event itself, or on the Clock".into());
        }
        if words(code).any(|word| matches!(word, "ToSocketAddrs" | "to_socket_addrs" | "lookup_host")) {
            add(line, "names", "a static program cannot call getaddrinfo; resolve with hickory-resolver".into());
        }
        if unreasoned(&source.code[line..]) {
            add(line, "lint without a reason", "add `reason = \"…\"`, or mend what the lint complains of".into());
        }
        if words(&source.comments[line]).any(|word| matches!(word, "TODO" | "FIXME" | "XXX")) {
            add(line, "unfinished", "do it now, or open an issue and remove the note".into());
        }
    }
    if reads_kernel_files_illegally(path) {
        for (line, text) in source.literals.iter().filter(|(line, text)| !source.test[*line] && is_kernel_path(text)) {
            add(*line, "kernel files", format!("\"{text}\": read it through the agent's root, as a path below it"));
        }
    }
    found
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Whether an identifier is, or contains, the name of a cipher, a key-exchange group or a signature scheme.
/// Cases and underscores do not matter: `ML_DSA_87`, `MlDsa87` and `mldsa87` are one name. Hashes are not algorithms
/// that a peer negotiates, so they are not listed.
fn names_algorithm(word: &str) -> bool {
    const NAMES: [&str; 14] = [
        "aes128",
        "aes256",
        "chacha20",
        "curve25519",
        "ecdsa",
        "ed25519",
        "mldsa",
        "mlkem",
        "rsapss",
        "rsapkcs",
        "secp256",
        "secp384",
        "secp521",
        "x25519",
    ];
    let plain: String = word.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect();
    NAMES.iter().any(|name| plain.contains(name))
}

/// Whether the first of `code` begins an `allow` or `expect` attribute that gives no reason.
fn unreasoned(code: &[String]) -> bool {
    let starts = ["#[allow(", "#![allow(", "#[expect(", "#![expect("];
    let Some(at) = starts.iter().find_map(|start| code[0].find(start)) else { return false };
    let rest = std::iter::once(&code[0][at..]).chain(code[1..].iter().map(String::as_str));
    for line in rest {
        if words(line).any(|word| word == "reason") {
            return false;
        }
        if line.contains(")]") || line.trim() == "]" {
            break;
        }
    }
    true
}

/// A host's code outside the crate that may name kernel files: the one with the opener, and the sensors that say which they
/// read.
fn reads_kernel_files_illegally(path: &str) -> bool {
    path.starts_with("agent/") && !path.starts_with("agent/sensors/")
}

fn is_kernel_path(text: &str) -> bool {
    ["/proc", "/sys"]
        .iter()
        .any(|top| text.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    fn laws(path: &str, text: &str) -> Vec<(usize, &'static str)> {
        check(path, &source(path, text)).into_iter().map(|v| (v.line, v.law)).collect()
    }

    #[test]
    fn only_crypto_names_algorithms() {
        for name in
            ["TLS13_AES_256_GCM_SHA384", "MLKEM1024", "SECP384R1MLKEM1024", "sign_ml_dsa_87", "MlDsa87", "X25519"]
        {
            let text = format!("\nuse suites::{name};");
            assert_eq!(laws("agent/src/uplink/mod.rs", &text), [(2, "algorithms")], "{name}");
            assert!(laws("crypto/src/policy.rs", &text).is_empty());
            assert!(laws("agent/tests/uplink.rs", &text).is_empty());
        }
        assert!(laws("agent/src/a.rs", "// MLKEM1024\nlet group = \"MLKEM1024\"; let secpath = small_kem;").is_empty());
    }

    #[test]
    fn a_hosts_programs_name_kernel_files_in_one_crate() {
        let text = "let a = open(\"/proc/stat\");\nlet b = \"/sys\";\nlet c = \"/system\"; // \"/proc\"";
        for path in ["agent/src/config.rs", "agent/probe/src/main.rs"] {
            assert_eq!(laws(path, text), [(1, "kernel files"), (2, "kernel files")], "{path}");
        }
        assert!(laws("agent/sensors/src/root.rs", text).is_empty());
        assert!(laws("agent/sensors/src/host/cpu.rs", text).is_empty());
        assert!(laws("agent/src/config.rs", &format!("#[cfg(test)]\nmod tests {{\n{text}\n}}")).is_empty());
    }

    #[test]
    fn tests_are_neither_ignored_nor_asleep() {
        assert_eq!(
            laws("a/src/lib.rs", "#[cfg(test)]\nmod t {\n#[ignore = \"slow\"]\nfn a() {}\n}"),
            [(3, "ignored test")]
        );
        assert_eq!(laws("tests/tests/a.rs", "fn a() { std::thread::sleep(d); }"), [(1, "sleep")]);
        assert_eq!(laws("agent/src/a.rs", "async fn a() { tokio::time::sleep(d).await }"), [(1, "sleep")]);
        assert!(laws("runtime/src/clock.rs", "async fn a() { tokio::time::sleep(d).await }").is_empty());
        assert!(laws("agent/src/a.rs", "async fn a() { clock.sleep(d).await }").is_empty());
    }

    #[test]
    fn a_lint_is_set_aside_with_a_reason_only() {
        assert_eq!(laws("a/src/lib.rs", "#[allow(dead_code)]\nfn a() {}"), [(1, "lint without a reason")]);
        assert_eq!(
            laws("a/src/lib.rs", "#![expect(\n  dead_code,\n)]\nlet reason = 1;"),
            [(1, "lint without a reason")]
        );
        assert!(laws("a/src/lib.rs", "#[allow(dead_code, reason = \"read by gdb\")]").is_empty());
        assert!(laws("a/src/lib.rs", "#[expect(\n  dead_code,\n  reason = \"read by gdb\"\n)]").is_empty());
    }

    #[test]
    fn names_are_not_resolved_by_the_c_library() {
        assert_eq!(laws("agent/src/a.rs", "use std::net::ToSocketAddrs;"), [(1, "names")]);
        assert_eq!(laws("tests/tests/a.rs", "tokio::net::lookup_host(name).await"), [(1, "names")]);
        assert!(laws("agent/src/a.rs", "resolver.lookup_ip(name).await").is_empty());
    }

    #[test]
    fn notes_of_unfinished_work_are_refused() {
        assert_eq!(laws("a/src/lib.rs", "fn a() {} // TODO: more"), [(1, "unfinished")]);
        assert_eq!(laws("a/src/lib.rs", "/* x\nFIXME */"), [(2, "unfinished")]);
        assert!(laws("a/src/lib.rs", "let s = \"TODO\";").is_empty());
    }
}
