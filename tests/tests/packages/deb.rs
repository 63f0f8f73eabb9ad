//! `.deb` packages: their contents, and their scripts where no systemd runs.

use crate::made::{DAEMONS, NAMES, PROBE, of_environment, output, package, program, tree};
use anyhow::ensure;
use std::path::Path;
use std::process::Command;

fn dpkg_deb(option: &str, package: &Path) -> Command {
    let mut command = Command::new("dpkg-deb");
    command.arg(option).arg(package);
    command
}

#[test]
fn long_debs_have_their_files_owned_by_root_and_written_to_by_nobody_else() -> anyhow::Result<()> {
    for name in NAMES {
        let package = package(name, "_amd64.deb")?;
        let contents = output(&mut dpkg_deb("--contents", &package))?;
        for line in contents.lines() {
            let mut words = line.split_whitespace();
            let (mode, owner) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            ensure!(owner == "root/root", "{line}");
            ensure!(matches!(mode, "drwxr-xr-x" | "-rwxr-xr-x" | "-rw-r--r--"), "{line}");
        }
        for path in [program(name), format!("/usr/share/doc/{name}/copyright")] {
            ensure!(contents.contains(&format!(" .{path}\n")), "{name} lacks {path}:\n{contents}");
        }
        let usr_and_etc =
            contents.lines().all(|line| line.ends_with(" ./") || line.contains(" ./usr/") || line.contains(" ./etc/"));
        ensure!(usr_and_etc, "{name} has files elsewhere:\n{contents}");
    }
    for (name, role, _) in DAEMONS {
        let contents = output(&mut dpkg_deb("--contents", &package(name, "_amd64.deb")?))?;
        // tar escapes the backslash once more.
        let mount = format!(r"/usr/lib/systemd/system/mnt-dsmil\\x2dram-{role}.mount");
        let folder = format!("/etc/dsmil/{role}.toml.d/");
        for path in [mount, folder, format!("/usr/lib/systemd/system/{name}.service")] {
            ensure!(contents.contains(&format!(" .{path}\n")), "{name} lacks {path}:\n{contents}");
        }
        ensure!(!contents.contains(&format!("/etc/dsmil/{role}.toml\n")), "joining writes it:\n{contents}");
    }
    Ok(())
}

#[test]
fn long_what_debs_say_of_themselves_is_true() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    for name in NAMES {
        let package = package(name, "_amd64.deb")?;
        let files = folder.path().join(name);
        output(Command::new("dpkg-deb").arg("--raw-extract").arg(&package).arg(&files))?;
        output(Command::new("md5sum").args(["--check", "--strict", "--quiet", "DEBIAN/md5sums"]).current_dir(&files))?;
        let summed = std::fs::read_to_string(files.join("DEBIAN/md5sums"))?.lines().count();
        let there = tree(&files)?.into_iter().filter(|path| !path.starts_with("DEBIAN") && files.join(path).is_file());
        ensure!(summed == there.count(), "{name}: a file has no sum");
        for script in ["postinst", "prerm", "postrm"].map(|script| files.join("DEBIAN").join(script)) {
            if script.exists() {
                output(Command::new("sh").arg("-n").arg(&script))?;
            }
        }
        let field = |field: &str| output(dpkg_deb("--field", &package).arg(field)).map(|text| text.trim().to_owned());
        ensure!(field("Package")? == name && field("Architecture")? == "amd64");
        ensure!(field("Version")?.starts_with(env!("CARGO_PKG_VERSION")), "{}", field("Version")?);
        ensure!(field("Version")?.contains("~debug"), "nobody is to mistake it for a release: {}", field("Version")?);
    }
    let field = |name: &str, field: &str| output(dpkg_deb("--field", &package(name, "_amd64.deb")?).arg(field));
    ensure!(field("dsmil-agent", "Recommends")?.trim() == "dsmil-probe, dsmilctl");
    let depends = field(PROBE, "Depends")?;
    ensure!(depends.contains("libc6 (>= 2.") && depends.contains("dsmil-agent"), "{depends}");
    Ok(())
}

/// A system that is being made, in which no systemd runs: installed, joined by hand, upgraded, removed, purged.
const LIFE: &str = r#"
set -e
test ! -d /run/systemd/system
dpkg --install /packages/dsmil-agent_*.deb /packages/dsmil-aggregator_*.deb /packages/dsmilctl_*.deb /packages/dsmil-probe_*.deb >/dev/null
dpkg --verify dsmil-agent dsmil-aggregator dsmilctl dsmil-probe
/usr/libexec/dsmil/dsmil-probe --version >/dev/null
test "$(stat -c '%U %G %a' /var/lib/dsmil/agent)" = 'dsmil dsmil 700'
test "$(stat -c '%U %G %a' /var/lib/dsmil/aggregator)" = 'dsmil-aggregator dsmil-aggregator 700'
test "$(stat -c '%U %a' /etc/dsmil/agent.toml.d)" = 'root 755'
test -L /etc/systemd/system/multi-user.target.wants/dsmil-agent.service
test -s /usr/share/man/man1/dsmil-agent.1.gz

# What joining and a running agent leave. A tmpfs is the agent's own, and an upgrade must not take it away.
echo 'log = "info"' > /etc/dsmil/agent.toml
echo key > /var/lib/dsmil/agent/agent.pem
chown dsmil:dsmil /mnt/dsmil-ram/agent && chmod 700 /mnt/dsmil-ram/agent && echo ticks > /mnt/dsmil-ram/agent/spool
dpkg --install /packages/dsmil-agent_*.deb >/dev/null
test "$(stat -c '%U %a' /mnt/dsmil-ram/agent)" = 'dsmil 700'
test -s /mnt/dsmil-ram/agent/spool

dpkg --purge dsmil-probe >/dev/null
dpkg --remove dsmil-agent >/dev/null
test -s /etc/dsmil/agent.toml && test -s /var/lib/dsmil/agent/agent.pem && test ! -e /usr/bin/dsmil-agent
dpkg --purge dsmil-agent >/dev/null
test ! -e /etc/dsmil/agent.toml && test ! -e /var/lib/dsmil/agent && test ! -e /mnt/dsmil-ram/agent
# The other one is as it was.
dpkg --verify dsmil-aggregator
getent passwd dsmil-aggregator >/dev/null && test -d /var/lib/dsmil/aggregator && test -d /etc/dsmil/aggregator.toml.d
touch /etc/dsmil/aggregator.toml /etc/dsmil/fleet.toml
dpkg --purge dsmil-aggregator dsmilctl >/dev/null
grep dsmil /etc/passwd /etc/group /etc/shadow || true
find / -xdev -iname '*dsmil*' -not -path '/proc/*' -not -path '/packages*' -not -path '/var/log/*'
find / -xdev -nouser -not -path '/proc/*' -not -path '/packages*'
"#;

#[test]
fn long_debs_live_and_go_without_a_trace_where_no_systemd_runs() -> anyhow::Result<()> {
    let mut machine = Command::new("systemd-nspawn");
    machine.args(["--quiet", "--volatile=overlay", "--private-network", "--register=no", "--keep-unit", "--pipe"]);
    machine.arg("--directory").arg(of_environment("DSMIL_DEBIAN")?);
    machine.arg(format!("--bind-ro={}:/packages", of_environment("DSMIL_PACKAGES")?.display()));
    let left = output(machine.args(["sh", "-xc", LIFE]))?;
    ensure!(left.is_empty(), "left behind:\n{left}");
    Ok(())
}
