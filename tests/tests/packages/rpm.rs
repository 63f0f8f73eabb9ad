//! `.rpm` packages: their contents, and their scripts in a root that has a shell and nothing else.

use crate::made::{DAEMONS, NAMES, PROBE, of_environment, output, package, program, tree};
use anyhow::{Context, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn query(args: &[&str], package: &Path) -> anyhow::Result<String> {
    output(Command::new("rpm").args(["--query", "--package"]).args(args).arg(package))
}

#[test]
fn long_rpms_have_their_files_owned_by_root_and_written_to_by_nobody_else() -> anyhow::Result<()> {
    for name in NAMES {
        let package = package(name, ".x86_64.rpm")?;
        for line in
            query(&["--qf", "[%{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\n]"], &package)?.lines()
        {
            let (mode, rest) = line.split_once(' ').context("a mode")?;
            ensure!(matches!(mode, "drwxr-xr-x" | "-rwxr-xr-x" | "-rw-r--r--"), "{line}");
            let path = rest.strip_prefix("root root ").with_context(|| format!("whose is {line}"))?;
            ensure!(path.starts_with("/usr/") || path.starts_with("/etc/dsmil"), "{line}");
        }
        ensure!(query(&["--qf", "%{VERSION}"], &package)?.contains("~debug"), "nobody is to mistake it for a release");
        ensure!(query(&["--qf", "%{BUILDHOST}"], &package)? == "dsmil.invalid", "it names the machine it was made on");
    }
    for (name, role, _) in DAEMONS {
        let package = package(name, ".x86_64.rpm")?;
        let files = query(&["--list"], &package)?;
        for path in [
            format!(r"/usr/lib/systemd/system/mnt-dsmil\x2dram-{role}.mount"),
            format!("/usr/lib/systemd/system/{name}.service"),
            format!("/usr/lib/systemd/system-generators/{name}-generator"),
            format!("/etc/dsmil/{role}.toml.d"),
        ] {
            ensure!(files.lines().any(|line| line == path), "{name} lacks {path}:\n{files}");
        }
        let scripts = query(&["--scripts"], &package)?;
        ensure!(
            scripts.contains("postinstall") && scripts.contains("preuninstall") && !scripts.contains('@'),
            "{scripts}"
        );
    }
    Ok(())
}

/// A root with a shell and what it needs, and an empty database of packages.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> anyhow::Result<Self> {
        let root = Self(tempfile::tempdir()?);
        root.put(Path::new("/bin/sh"))?;
        for word in output(Command::new("ldd").arg("/bin/sh"))?.split_whitespace().filter(|word| word.starts_with('/'))
        {
            root.put(Path::new(word))?;
        }
        Ok(root)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn put(&self, file: &Path) -> anyhow::Result<()> {
        let place = self.path(&file.to_string_lossy());
        fs::create_dir_all(place.parent().context("a folder")?)?;
        fs::copy(file, place)?;
        Ok(())
    }

    /// rpm on this root. Whatever a script complains of is an error, though to rpm it is a warning.
    fn rpm(&self, args: &[&str], packages: &[PathBuf]) -> anyhow::Result<String> {
        let mut rpm = Command::new("rpm");
        rpm.arg("--root").arg(self.0.path()).args(["--dbpath", "/var/lib/rpm"]).args(args).args(packages);
        let done = rpm.output().context("cannot start rpm")?;
        // Debian's rpm warns each time that packages of Debian are others.
        let said = String::from_utf8_lossy(&done.stderr);
        let complaint: Vec<_> = said.lines().filter(|line| !line.starts_with("rpm: ") && !line.is_empty()).collect();
        ensure!(done.status.success() && complaint.is_empty(), "{rpm:?} ({}): {complaint:?}", done.status);
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }
}

#[test]
fn long_rpms_are_installed_into_a_root_and_leave_identity_and_configuration() -> anyhow::Result<()> {
    let root = Root::new()?;
    let packages = NAMES.iter().map(|name| package(name, ".x86_64.rpm")).collect::<anyhow::Result<Vec<_>>>()?;
    // Nothing but the packages is in the database: what they need is not looked for.
    root.rpm(&["--install", "--nodeps"], &packages)?;
    for name in NAMES {
        root.rpm(&["--verify", "--nodeps", name], &[])?;
        if name == PROBE {
            continue; // Linked with libraries that this root has not.
        }
        let version = output(
            Command::new("unshare")
                .arg("--map-root-user")
                .arg(format!("--root={}", root.0.path().display()))
                .args([&program(name), "--version"]),
        )?;
        ensure!(version.starts_with(name), "{version}");
    }
    let before = tree(root.0.path())?;
    fs::write(root.path("/etc/dsmil/agent.toml"), "log = \"info\"\n")?;
    fs::create_dir_all(root.path("/var/lib/dsmil/agent"))?;
    fs::write(root.path("/var/lib/dsmil/agent/agent.pem"), "key")?;

    root.rpm(&["--upgrade", "--replacepkgs", "--nodeps"], &packages)?;
    root.rpm(&["--erase", PROBE, "dsmil-agent"], &[])?;
    ensure!(root.path("/etc/dsmil/agent.toml").is_file() && root.path("/var/lib/dsmil/agent/agent.pem").is_file());
    let after = tree(root.0.path())?;
    let left: Vec<_> = after.iter().filter(|path| before.contains(path) && path.contains("dsmil-agent")).collect();
    ensure!(left.is_empty(), "{left:?}");
    ensure!(root.path("/usr/bin/dsmil-aggregator").is_file() && root.path("/etc/dsmil/aggregator.toml.d").is_dir());
    Ok(())
}

/// The scripts on a system that has systemd and is being made: installed, upgraded, erased.
const LIFE: &str = r#"
set -e
test ! -d /run/systemd/system
cp -a /files/. /
sh /scripts/post 1
test "$(stat -c '%U %G %a' /var/lib/dsmil/agent)" = 'dsmil dsmil 700'
systemctl is-enabled --quiet dsmil-agent.service
chown dsmil:dsmil /mnt/dsmil-ram/agent && chmod 700 /mnt/dsmil-ram/agent
echo key > /var/lib/dsmil/agent/agent.pem

# An administrator has a word in it, which an upgrade hears.
systemctl disable --quiet dsmil-agent.service
sh /scripts/post 2
if systemctl is-enabled --quiet dsmil-agent.service; then exit 1; fi
test "$(stat -c '%U %a' /mnt/dsmil-ram/agent)" = 'dsmil 700'
systemctl enable --quiet dsmil-agent.service
sh /scripts/preun 1
sh /scripts/postun 1
systemctl is-enabled --quiet dsmil-agent.service

sh /scripts/preun 0
if systemctl is-enabled --quiet dsmil-agent.service; then exit 1; fi
sh /scripts/postun 0
test -s /var/lib/dsmil/agent/agent.pem
"#;

#[test]
fn long_scripts_of_rpms_make_user_and_folders_and_hear_the_administrator() -> anyhow::Result<()> {
    let (root, scripts) = (Root::new()?, tempfile::tempdir()?);
    let agent = package("dsmil-agent", ".x86_64.rpm")?;
    for (tag, name) in [("POSTIN", "post"), ("PREUN", "preun"), ("POSTUN", "postun")] {
        fs::write(scripts.path().join(name), query(&["--qf", &format!("%{{{tag}}}")], &agent)?)?;
    }
    root.rpm(&["--install", "--nodeps", "--noscripts"], &[agent])?;
    // Only what is the package's: the root's own shell would replace that of the system.
    let files = tempfile::tempdir()?;
    for folder in ["usr", "etc"] {
        output(Command::new("cp").arg("-a").arg(root.path(folder)).arg(files.path()))?;
    }

    let mut machine = Command::new("systemd-nspawn");
    machine.args(["--quiet", "--volatile=overlay", "--private-network", "--register=no", "--keep-unit", "--pipe"]);
    machine.arg("--directory").arg(of_environment("DSMIL_DEBIAN")?);
    machine.arg(format!("--bind-ro={}:/files", files.path().display()));
    machine.arg(format!("--bind-ro={}:/scripts", scripts.path().display()));
    output(machine.args(["sh", "-xc", LIFE]))?;
    Ok(())
}
