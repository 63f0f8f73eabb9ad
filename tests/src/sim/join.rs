//! Hosts that join before they run, as engineers would have them: a token each, the agent's own way of joining.

use anyhow::Context;
use dsmil_agent::join::{JoinOptions, join};
use dsmil_protocol::ids::HostName;
use dsmil_runtime::clock::Clock;
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;

/// How long a join port may take: it may have a thousand hosts before it.
const WITHIN: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Token {
    host: HostName,
    token: String,
}

/// Has every host of the list join that has no folder yet, and says how many did.
pub async fn join_all(tokens: &Path, agents_dir: &Path, clock: &Clock) -> anyhow::Result<usize> {
    let text = std::fs::read(tokens).with_context(|| format!("{} cannot be read", tokens.display()))?;
    let tokens: Vec<Token> = serde_json::from_slice(&text).context("the list of tokens has another form")?;
    let mut joined = 0;
    for Token { host, token } in tokens {
        let dir = agents_dir.join(host.as_str());
        if dir.join("agent.toml").exists() {
            continue;
        }
        std::fs::create_dir_all(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
        let options = JoinOptions { state: dir.clone(), dir, again: false, within: WITHIN };
        join(&token, &options, clock, &mut |_| {}).await.with_context(|| format!("{host} cannot join"))?;
        joined += 1;
    }
    Ok(joined)
}
