//! Signatures under whole packages, by the program that is shipped.

use crate::made::{NAMES, folder, outcome, output, package, tree};
use crate::repeated::xtask;
use anyhow::{Context, ensure};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

fn dsmilctl() -> anyhow::Result<Command> {
    Ok(Command::new(folder()?.join("dsmilctl")))
}

/// The verdict on a file, and whether the exit code says the same.
fn verdict(key: &Path, file: &Path) -> anyhow::Result<String> {
    let done = outcome(dsmilctl()?.args(["verify-package", "--json", "--key"]).arg(key).arg(file))?;
    let said: Value =
        serde_json::from_slice(&done.stdout).with_context(|| String::from_utf8_lossy(&done.stderr).into_owned())?;
    let verdict = said["files"][0]["verdict"].as_str().context("no verdict")?.to_owned();
    ensure!(done.status.code() == Some(i32::from(verdict != "good")), "{:?}: {said}", done.status);
    Ok(verdict)
}

#[test]
fn long_a_package_is_good_until_a_byte_of_it_changes() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let (keys, others) = (place.path().join("keys"), place.path().join("others"));
    for keys in [&keys, &others] {
        output(dsmilctl()?.args(["release-key", "new"]).arg(keys))?;
    }
    let again = outcome(dsmilctl()?.args(["release-key", "new"]).arg(&keys))?;
    ensure!(again.status.code() == Some(2), "a key that is in use was replaced");

    let file = place.path().join("agent.deb");
    fs::copy(package("dsmil-agent", "_amd64.deb")?, &file)?;
    let key = keys.join("release.pub");
    ensure!(verdict(&key, &file)? == "no_signature");
    output(dsmilctl()?.args(["sign-package", "--key"]).arg(keys.join("release.key")).arg(&file))?;
    ensure!(verdict(&key, &file)? == "good");
    ensure!(verdict(&others.join("release.pub"), &file)? == "other_key");

    // Somewhere in each region: the archive's head, control files, contents, the end.
    let open = fs::File::options().read(true).write(true).open(&file)?;
    let length = open.metadata()?.len();
    for at in [0, 8, 200, length / 3, length / 2, length - 1] {
        let mut byte = [0];
        open.read_exact_at(&mut byte, at)?;
        open.write_all_at(&[byte[0] ^ 1], at)?;
        ensure!(verdict(&key, &file)? == "changed", "byte {at} of {length}");
        open.write_all_at(&byte, at)?;
    }
    ensure!(verdict(&key, &file)? == "good", "it is what it was");
    open.set_len(length - 1)?;
    ensure!(verdict(&key, &file)? == "changed");

    let no_key = outcome(dsmilctl()?.args(["verify-package", "--key", "/nowhere/release.pub"]).arg(&file))?;
    ensure!(no_key.status.code() == Some(2), "{:?}", no_key.status);
    Ok(())
}

#[test]
fn long_a_signed_release_brings_the_key_that_checks_the_next_one() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let (keys, release) = (place.path().join("keys"), place.path().join("release"));
    output(dsmilctl()?.args(["release-key", "new"]).arg(&keys))?;
    let mut dist = Command::new(xtask()?);
    dist.args(["dist", "--debug", "--programs"]).arg(folder()?).arg("--into").arg(&release);
    output(dist.arg("--sign").arg(keys.join("release.key")))?;

    let signed = tree(&release)?.into_iter().filter(|path| path.ends_with(".sig")).collect::<Vec<_>>();
    ensure!(signed.len() == 3 * NAMES.len() + 1, "two packages and a list of each program, and the sums: {signed:?}");
    let files = place.path().join("files");
    let dsmilctl_package =
        tree(&release)?.into_iter().find(|path| path.starts_with("dsmilctl_") && path.ends_with(".deb"));
    output(
        Command::new("dpkg-deb").arg("--extract").arg(release.join(dsmilctl_package.context("a package")?)).arg(&files),
    )?;
    let shipped = files.join("usr/share/dsmil/release.pub");
    ensure!(fs::read(&shipped)? == fs::read(keys.join("release.pub"))?);
    for signature in signed {
        let file = release.join(signature.trim_end_matches(".sig"));
        ensure!(verdict(&shipped, &file)? == "good", "{}", file.display());
    }
    Ok(())
}
