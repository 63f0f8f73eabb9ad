//! `token`: join tokens are made, listed, removed.

use super::ConfigArgs;
use super::centre::{Centre, with_centre};
use super::output::{hex, print, print_json, print_table, short};
use super::when;
use clap::{Args, Subcommand};
use dsmil_authority::Fingerprint;
use dsmil_crypto::join_token::JoinToken;
use dsmil_protocol::ids::HostName;
use dsmil_protocol::join::{MAX_ADDRESS_LEN, MAX_ADDRESSES};
use dsmil_store::state::{DamagedRow, NewToken, TokenRow};
use serde::Serialize;
use std::process::ExitCode;
use std::time::Duration;

/// A token must live until somebody has typed it in.
const MIN_TTL: Duration = Duration::from_secs(60);
/// And not until everybody has forgotten it.
const MAX_TTL: Duration = Duration::from_secs(30 * 86_400);
/// Digits of a hash that name a token: fewer would be guesses.
const MIN_PREFIX_LEN: usize = 8;

#[derive(Subcommand)]
pub(crate) enum TokenVerb {
    /// Make tokens. The token of a single host is all that goes to standard output; of several, a line each with the host
    /// before it.
    Create(CreateArgs),
    /// List the tokens that are kept: open ones, and for a month used and expired ones.
    List(ListArgs),
    /// Remove a token before it is used.
    Remove(RemoveArgs),
}

#[derive(Args)]
#[group(id = "for", required = true, args = ["hosts", "every_host"])]
pub(crate) struct CreateArgs {
    /// A host of the fleet file; may be given several times.
    #[arg(long = "host", value_name = "HOST", conflicts_with = "every_host")]
    hosts: Vec<HostName>,
    /// Every host of the fleet file that is neither enrolled nor revoked.
    #[arg(long)]
    every_host: bool,
    /// How long it is good, from a minute (1m) to 30 days (30d).
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_ttl)]
    ttl: Duration,
    /// Where the host finds the join port; may be given several times. Left out: `advertise.join` of the configuration.
    #[arg(long = "address", value_name = "HOST:PORT", value_parser = parse_address)]
    addresses: Vec<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[group(id = "which", required = true, multiple = false, args = ["hash", "host"])]
pub(crate) struct RemoveArgs {
    /// The first digits of its hash, as `token list` shows them.
    #[arg(value_name = "HASH")]
    hash: Option<String>,
    /// All open tokens of a host.
    #[arg(long)]
    host: Option<HostName>,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(verb: TokenVerb) -> anyhow::Result<ExitCode> {
    match verb {
        TokenVerb::Create(args) => with_centre(&args.config, async |centre| create(&args, centre).await),
        TokenVerb::List(args) => with_centre(&args.config, async |centre| list(&args, centre).await),
        TokenVerb::Remove(args) => with_centre(&args.config, async |centre| remove(&args, centre).await),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// A token that was made.
#[derive(Serialize)]
struct Made {
    host: HostName,
    token: String,
    hash: String,
    addresses: Vec<String>,
    devices: Vec<u16>,
    expires_ms: i64,
}

#[derive(Serialize)]
struct AllMade {
    tokens: Vec<Made>,
}

async fn create(args: &CreateArgs, centre: &Centre) -> anyhow::Result<()> {
    let trust = centre.trust().await?;
    anyhow::ensure!(
        !trust.is_expired(centre.now_s()),
        "the trust bundle has expired, and nobody joins until there is a newer one: `trust sign` with the root, then `trust publish`"
    );
    let addresses = addresses(args, centre)?;
    // While one root follows another: the newer one will be there longer.
    let root = trust.roots().last().map(|(fingerprint, _)| *fingerprint).ok_or_else(|| anyhow::anyhow!("no root"))?;
    let domain = trust.trust_domain().to_string();
    let hosts = hosts(args, centre).await?;
    let mut tokens = Vec::new();
    for (host, devices) in hosts {
        let now_ms = centre.now_ms();
        let expires_ms = now_ms.saturating_add(i64::try_from(args.ttl.as_millis()).unwrap_or(i64::MAX));
        let now_s = now_ms.div_euclid(1000);
        let token = JoinToken::generate(addresses.clone(), domain.clone(), root, host.to_string(), now_s);
        let made = Made {
            host: host.clone(),
            token: token.text(),
            hash: hex(&token.hash()),
            addresses: addresses.clone(),
            devices: devices.iter().map(|device| device.0).collect(),
            expires_ms,
        };
        let (hash, by) = (token.hash(), centre.by.clone());
        centre.state.create_token(NewToken { hash, host, devices, created_ms: now_ms, expires_ms, by }).await?;
        tokens.push(made);
    }
    if args.json {
        return print_json(&AllMade { tokens });
    }
    say(&tokens)
}

fn say(tokens: &[Made]) -> anyhow::Result<()> {
    let Some(first) = tokens.first() else {
        eprintln!("every host of the fleet file is enrolled or revoked: no token was made");
        return Ok(());
    };
    let until = when::utc_ms(first.expires_ms);
    let at = first.addresses.join(", ");
    if let [only] = tokens {
        eprintln!("Good for {} alone, once, until {until}; it joins at {at}.", only.host);
        eprintln!("It is a secret, shown this once. On {}: dsmil-agent join TOKEN\n", only.host);
        return Ok(print(&only.token)?);
    }
    eprintln!("{} tokens, each good for its host alone, once, until {until}; they join at {at}.", tokens.len());
    eprintln!("They are secrets, shown this once. On each host: dsmil-agent join TOKEN\n");
    Ok(print(&tokens.iter().map(|made| format!("{} {}\n", made.host, made.token)).collect::<String>())?)
}

fn addresses(args: &CreateArgs, centre: &Centre) -> anyhow::Result<Vec<String>> {
    let addresses = if args.addresses.is_empty() { &centre.config.advertise.join } else { &args.addresses };
    anyhow::ensure!(
        !addresses.is_empty(),
        "a host has to be told where the join port is: set `join` in [advertise] of the configuration, or give --address HOST:PORT"
    );
    anyhow::ensure!(addresses.len() <= MAX_ADDRESSES, "a token names at most {MAX_ADDRESSES} addresses");
    for address in addresses {
        parse_address(address).map_err(anyhow::Error::msg)?;
    }
    Ok(addresses.clone())
}

/// The hosts that get a token, with their devices; all are looked at before the first is made.
async fn hosts(
    args: &CreateArgs,
    centre: &Centre,
) -> anyhow::Result<Vec<(HostName, Vec<dsmil_protocol::ids::DeviceId>)>> {
    let (fleet, registry) = (centre.fleet()?, centre.state.hosts().await?);
    let row = |host: &HostName| registry.rows.iter().find(|row| row.name == *host);
    let is_damaged = |host: &HostName| registry.damaged.iter().any(|damaged| damaged.name == host.as_str());
    let mut wanted = args.hosts.clone();
    wanted.sort();
    wanted.dedup();
    if args.every_host {
        let is_out = |host: &&HostName| {
            !is_damaged(host) && row(host).is_none_or(|row| row.revoked.is_none() && row.key.is_none())
        };
        wanted = fleet.hosts().map(|(name, _)| name).filter(is_out).cloned().collect();
    }
    let mut hosts = Vec::new();
    for host in wanted {
        let Some(entry) = fleet.host(&host) else {
            anyhow::bail!(
                "the fleet file {} does not name {host}: add a [[host]] with `name = \"{host}\"` to it, and send SIGHUP to a running aggregator",
                centre.config.fleet.display()
            );
        };
        anyhow::ensure!(!is_damaged(&host), "what is known of {host} is damaged: `host reinstate {host}` first");
        anyhow::ensure!(
            row(&host).is_none_or(|row| row.revoked.is_none()),
            "{host} is revoked, and no token lets it in: `host reinstate {host}` first"
        );
        hosts.push((host, entry.grant.devices.iter().copied().collect()));
    }
    Ok(hosts)
}

#[derive(Serialize)]
struct Listed {
    tokens: Vec<ListedToken>,
    damaged: Vec<String>,
}

#[derive(Serialize)]
struct ListedToken {
    hash: String,
    host: HostName,
    state: TokenState,
    devices: Vec<u16>,
    created_ms: i64,
    expires_ms: i64,
    by: String,
    used: Option<Used>,
}

#[derive(Serialize)]
struct Used {
    at_ms: i64,
    from: String,
    key: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum TokenState {
    Open,
    Used,
    Expired,
}

fn state_of(row: &TokenRow, now_ms: i64) -> TokenState {
    match row.used {
        Some(_) => TokenState::Used,
        None if row.expires_ms <= now_ms => TokenState::Expired,
        None => TokenState::Open,
    }
}

async fn list(args: &ListArgs, centre: &Centre) -> anyhow::Result<()> {
    let mut kept = centre.state.tokens().await?;
    kept.rows.sort_by_key(|row| row.created_ms);
    let now_ms = centre.now_ms();
    if args.json {
        let tokens = kept.rows.iter().map(|row| listed(row, now_ms)).collect();
        return print_json(&Listed { tokens, damaged: kept.damaged.into_iter().map(|row| row.name).collect() });
    }
    warn_damaged(&kept.damaged);
    let rows: Vec<_> = kept.rows.iter().map(|row| cells(row, now_ms)).collect();
    let head = ["HASH", "HOST", "MADE", "BY", "EXPIRES", "USED"];
    Ok(print_table(&head, &rows, "there are no tokens; `token create --host HOST` makes one")?)
}

fn listed(row: &TokenRow, now_ms: i64) -> ListedToken {
    let used = row.used.as_ref();
    ListedToken {
        hash: hex(&row.hash),
        host: row.host.clone(),
        state: state_of(row, now_ms),
        devices: row.devices.iter().map(|device| device.0).collect(),
        created_ms: row.created_ms,
        expires_ms: row.expires_ms,
        by: row.by.clone(),
        used: used.map(|used| Used { at_ms: used.at_ms, from: used.from.clone(), key: used.key.to_string() }),
    }
}

fn cells(row: &TokenRow, now_ms: i64) -> Vec<String> {
    let used = match (&row.used, state_of(row, now_ms)) {
        (Some(used), _) => format!("{} from {}", when::utc_ms(used.at_ms), used.from),
        (None, TokenState::Expired) => "never; it has expired".into(),
        (None, _) => "not yet".into(),
    };
    let (made, expires) = (when::utc_ms(row.created_ms), when::utc_ms(row.expires_ms));
    vec![short(&row.hash), row.host.to_string(), made, row.by.clone(), expires, used]
}

/// Rows that count for nothing are named, and do not hide the others.
pub(super) fn warn_damaged(damaged: &[DamagedRow]) {
    for row in damaged {
        eprintln!("dsmil-aggregator: {row}");
    }
}

async fn remove(args: &RemoveArgs, centre: &Centre) -> anyhow::Result<()> {
    let kept = centre.state.tokens().await?;
    let now_ms = centre.now_ms();
    let hashes = match (&args.hash, &args.host) {
        (Some(prefix), _) => vec![by_prefix(prefix, &kept.rows, &kept.damaged)?],
        (None, Some(host)) => {
            let is_open = |row: &&TokenRow| row.host == *host && state_of(row, now_ms) == TokenState::Open;
            let hashes: Vec<_> = kept.rows.iter().filter(is_open).map(|row| row.hash).collect();
            anyhow::ensure!(!hashes.is_empty(), "{host} has no open token; `token list` shows what there is");
            hashes
        }
        (None, None) => anyhow::bail!("give the first digits of a hash, or --host"),
    };
    for hash in hashes {
        if centre.state.remove_token(hash, &centre.by, now_ms).await? {
            print(&format!("removed {}", short(&hash)))?;
        }
    }
    Ok(())
}

fn by_prefix(prefix: &str, rows: &[TokenRow], damaged: &[DamagedRow]) -> anyhow::Result<[u8; 48]> {
    let digits = prefix.to_ascii_lowercase();
    anyhow::ensure!(digits.len() >= MIN_PREFIX_LEN, "give at least {MIN_PREFIX_LEN} digits of the hash");
    // Of a damaged one nothing is known but the hash it is kept under.
    let damaged = damaged.iter().filter_map(|row| row.name.parse::<Fingerprint>().ok()).map(|hash| hash.0);
    let mut found: Vec<_> = rows.iter().map(|row| row.hash).chain(damaged).collect();
    found.retain(|hash| hex(hash).starts_with(&digits));
    match found[..] {
        [one] => Ok(one),
        [] => anyhow::bail!("no token's hash starts with {prefix}; `token list` shows them"),
        _ => anyhow::bail!("several tokens' hashes start with {prefix}: give more digits"),
    }
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = when::parse_span(text)?;
    if (MIN_TTL..=MAX_TTL).contains(&ttl) { Ok(ttl) } else { Err("a token is good for 1m to 30d".into()) }
}

/// Whether something could be `host:port`.
pub(super) fn parse_address(text: &str) -> Result<String, String> {
    let refused = || format!("{text:?} is no address: write HOST:PORT, an IPv6 address in brackets");
    let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    // Another colon is that of an IPv6 address without brackets.
    let is_host = host.strip_prefix('[').map_or_else(
        || !host.is_empty() && !host.contains([':', ']']) && host.bytes().all(|b| b.is_ascii_graphic()),
        |rest| rest.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
    );
    if is_port && is_host && text.len() <= MAX_ADDRESS_LEN { Ok(text.into()) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_from_a_minute_to_a_month() {
        for good in ["60s", "1m", "1h", "30d"] {
            assert!(parse_ttl(good).is_ok(), "{good}");
        }
        for bad in ["59s", "31d", "0h", "1 h", ""] {
            assert!(parse_ttl(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for good in ["a1.example:8101", "192.0.2.1:8101", "[2001:db8::1]:8101"] {
            assert_eq!(parse_address(good).as_deref(), Ok(good));
        }
        for bad in ["", "a1", "a1:", ":8101", "a1:0", "a1:65536", "2001:db8::1:8101", "[a1]:8101", "a b:1", "[::1:1"] {
            assert!(parse_address(bad).is_err(), "{bad:?}");
        }
        assert!(parse_address(&format!("{}:8101", "a".repeat(300))).is_err());
    }
}
