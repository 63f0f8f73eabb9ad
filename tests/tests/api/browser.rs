//! The page of the API in a browser: nothing is missing, nothing is fetched from elsewhere, nothing is complained of.

use dsmil_runtime::clock::Clock;
use e2e::fleet::{Centre, Fleet, Parents, Ports};
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// For a page of a hundred kilobytes over loopback.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_browser_shows_the_page_of_the_api_and_complains_of_nothing() {
    let fleet = Fleet::new(&Parents::default(), "dsmil-docs", &Clock::real()).expect("folders");
    let mut centre = Centre::init(&fleet, &[], Ports::free().expect("ports")).expect("init");
    centre.start().await.expect("the centre starts");
    let document: Value = centre.api().json("/openapi.json").await.expect("a document");

    let profile = tempfile::tempdir().expect("a folder");
    let mut browser = Command::new("chromium-headless-shell");
    browser
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--enable-logging=stderr",
            "--dump-dom",
        ])
        // Whom a browser trusts is looked at elsewhere.
        .arg("--ignore-certificate-errors")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("https://{}/docs", centre.api().address()))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, browser.output()).await.expect("it ends");
    let output = output.unwrap_or_else(|error| {
        panic!("chromium-headless-shell does not start ({error}); as root: apt-get install chromium-headless-shell")
    });
    let (page, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let complaints: Vec<&str> = said.lines().filter(|line| line.contains(":CONSOLE")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for operation in methods.as_object().expect("methods").values() {
            let id = operation["operationId"].as_str().expect("an id");
            assert!(page.contains(&format!("<article id=\"{id}\">")), "{path}");
        }
    }
    centre.stop().await.expect("the centre stops");
}
