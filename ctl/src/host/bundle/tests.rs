//! What is taken out of texts, and what is left in them.

use super::scrub::{Kind, Scrubber};
use super::stamp;
use proptest::prelude::*;

fn scrubber(known: &[(Kind, &str)]) -> Scrubber {
    Scrubber::new(known.iter().map(|(kind, value)| (*kind, (*value).to_owned()))).expect("patterns")
}

fn scrubbed(known: &[(Kind, &str)], text: &str) -> String {
    scrubber(known).text(text)
}

#[test]
fn what_is_known_goes_wherever_it_is_a_word() {
    let known = [
        (Kind::Host, "h1"),
        (Kind::Tenant, "north"),
        (Kind::Name, "centre.north.example"),
        (Kind::Fleet, "north.example"),
        (Kind::User, "jane"),
    ];
    let text =
        "H1 (tenant north) calls centre.north.example:8100; spiffe://north.example/agent/h1; h10, northern, /x/jane/y";
    let expected =
        "host-1 (tenant tenant-1) calls name-1:8100; spiffe://fleet-1/agent/host-1; h10, northern, /x/user-1/y";
    assert_eq!(scrubbed(&known, text), expected);
    assert_eq!(scrubbed(&[(Kind::Serial, "(S/N) 7"), (Kind::Host, "müller")], "x(S/N) 7 müller"), "xserial-1 host-1");
    assert_eq!(scrubbed(&[(Kind::User, "root"), (Kind::Host, "localhost")], "root@localhost"), "root@localhost");
}

#[test]
fn each_value_keeps_its_placeholder_through_all_texts_and_is_counted() {
    let mut scrubber = scrubber(&[(Kind::Host, "h1")]);
    assert_eq!(scrubber.text("10.0.0.1 and 10.0.0.2, h1"), "ip-1 and ip-2, host-1");
    assert_eq!(scrubber.text("from 10.0.0.2:8100 to 10.0.0.1."), "from ip-2:8100 to ip-1.");
    let counts: Vec<_> =
        scrubber.counts().iter().map(|(kind, count)| (*kind, count.distinct, count.replaced)).collect();
    assert_eq!(counts, [(Kind::Host, 1, 1), (Kind::Ip, 2, 4)]);
}

#[test]
fn what_is_not_known_goes_by_its_shape() {
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----";
    let key = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=";
    let token = format!("dsmil_{}", "aB3".repeat(14) + "x");
    for (text, expected) in [
        (format!("key {pem} end"), "key pem-1 end"),
        ("-----BEGIN CERTIFICATE-----\nMIIB".into(), "pem-1"),
        ("cAQA\nMC4=\n-----END PRIVATE KEY----- x".into(), "pem-1 x"),
        ("join dsmil-join-1.AbC_d-9 now".into(), "join token-1 now"),
        (format!("token {token};"), "token token-1;"),
        ("Authorization: Bearer abcdefgh.ijk".into(), "Authorization: Bearer token-1"),
        ("https://jane:pw@files.example/x".into(), "https://secret-1@files.example/x"),
        ("db_password = \"hunter2\"".into(), "db_password = \"secret-1\""),
        (format!("shared {key}"), "shared secret-1"),
        ("spiffe://other.example/agent/h7 refused".into(), "spiffe://fleet-1/agent/host-1 refused"),
        ("boot 07070707-0707-0707-0707-070707070707".into(), "boot uuid-1"),
        ("link/ether 52:54:00:ab:cd:ef up, 52-54-00-AB-CD-EF".into(), "link/ether mac-1 up, mac-1"),
        ("[2001:db8::7]:8100 and fe80::1%eth0, 2001:DB8:0:0:0:0:0:7".into(), "[ip-1]:8100 and ip-2%eth0, ip-1"),
        ("mapped ::ffff:192.0.2.9 is 192.0.2.9".into(), "mapped ip-1 is ip-1"),
        ("mail jane@x.example".into(), "mail user-1"),
        ("get https://files.example:1/x".into(), "get https://name-1:1/x"),
        ("/dev/disk/by-id/nvme-Samsung_S4EVN".into(), "/dev/disk/by-id/serial-1"),
        ("fingerprint 0123456789abcdef0123".into(), "fingerprint key-1"),
    ] {
        assert_eq!(scrubbed(&[], &text), expected, "{text}");
    }
}

#[test]
fn people_go_out_of_the_paths_of_their_homes() {
    // In parts: a path of one machine is in no file of ours.
    let homes = concat!("/", "home/");
    let text = scrubbed(&[], &format!("{homes}jane/.ssh and {homes}joe, {homes}jane"));
    assert_eq!(text, format!("{homes}user-1/.ssh and {homes}user-2, {homes}user-1"));
}

#[test]
fn what_is_nobodys_stays() {
    for text in [
        "127.0.0.1:8100 [::1]:8100 0.0.0.0 :: 255.255.255.255",
        "ff:ff:ff:ff:ff:ff 00:00:00:00:00:00",
        "2026-11-22T06:41:45.123Z up 12:34:56, tick 18446744073709551615",
        "dsmil_agent::uplink::drive: error=\"nobody answers\"",
        "TLS_AES_256_GCM_SHA384 MLKEM1024 SECP384R1MLKEM1024",
        "node_network_transmit_packets_total dsmil_accelerator_temperature_celsius",
        "/usr/lib/systemd/system/dsmil-agent.service dsmil-probe@nvml.service",
        "/sys/devices/pci0000:00/0000:00:03.0/net 6.1.0-18-amd64 x86_64-linux-gnu",
        "taken 12,345; 0.1.0; ip-1 host-2 key-3",
        "/proc/sys/net/ipv4/tcp_available_congestion_control",
    ] {
        assert_eq!(scrubbed(&[(Kind::Host, "vm")], text), text);
    }
}

#[test]
fn fields_are_scrubbed_and_numbers_are_not() {
    let mut value = serde_json::json!({"host": "h1", "n": 7, "list": ["10.0.0.1", null], "in": {"x": "h1"}});
    scrubber(&[(Kind::Host, "h1")]).json(&mut value);
    assert_eq!(value, serde_json::json!({"host": "host-1", "n": 7, "list": ["ip-1", null], "in": {"x": "host-1"}}));
}

#[test]
fn moments_are_dates() {
    let told = [0, 951_782_400, 1_800_000_000, 4_107_542_399].map(stamp);
    assert_eq!(told, ["19700101T000000Z", "20000229T000000Z", "20270115T080000Z", "21000228T235959Z"]);
}

proptest! {
    #[test]
    fn whatever_stands_around_it_what_is_known_is_gone(before in "[ -~]{0,30}", after in "[ -~]{0,30}") {
        let text = format!("{before} secret.host.example 192.0.2.77 {after}");
        let out = scrubbed(&[(Kind::Name, "secret.host.example")], &text);
        prop_assert!(!out.contains("secret.host.example") && !out.contains("192.0.2.77"), "{out}");
    }

    #[test]
    fn no_text_makes_it_panic_and_no_mark_is_left(text in "\\PC{0,200}|[ -~\u{E000}\u{E001}\n:/@.=-]{0,200}") {
        let out = scrubbed(&[(Kind::Host, "h1")], &text);
        let marks = ['\u{E000}', '\u{E001}'];
        prop_assert!(!out.contains(marks));
    }
}
