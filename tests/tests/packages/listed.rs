//! What programs are linked of, held against CycloneDX's own schema by the project's own library.

use crate::made::{NAMES, folder, output, package};
use anyhow::{Context, ensure};
use std::path::PathBuf;
use std::process::Command;

/// Prints what is wrong with the document of its argument.
const VALIDATE: &str = r"
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read())
print('' if fault is None else fault)
";

#[test]
fn long_lists_of_components_keep_the_schema_of_cyclonedx() -> anyhow::Result<()> {
    let tool = std::env::var_os("DSMIL_CYCLONEDX").map(PathBuf::from);
    // What is named is a program of its environment; the library has none of its own.
    let tool = tool.context("DSMIL_CYCLONEDX is not set: `cargo xtask test --long` sets it")?;
    let python = tool.with_file_name("python3");
    let spoiled = folder()?.join("SHA384SUMS");
    let mut lists = NAMES.iter().map(|name| package(name, ".cdx.json")).collect::<anyhow::Result<Vec<_>>>()?;
    lists.push(spoiled.clone());
    for list in lists {
        let fault = output(Command::new(&python).args(["-c", VALIDATE]).stdin(std::fs::File::open(&list)?));
        if list == spoiled {
            ensure!(fault.is_err() || fault.is_ok_and(|fault| !fault.trim().is_empty()), "anything passes for a list");
        } else {
            let fault = fault?;
            ensure!(fault.trim().is_empty(), "{}: {fault}", list.display());
        }
    }
    Ok(())
}
