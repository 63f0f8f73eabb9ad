//! Datagrams that are no QUIC, or not enough of it.

use crate::hellos::{self, Spray, loopback};
use crate::rig::{Setup, drill};
use anyhow::ensure;
use std::time::Duration;

/// Datagrams a second: 50 Mbit/s of the largest kind.
const PER_SECOND: u32 = 5_000;
const SECONDS: u32 = 6;
/// A datagram of 1,200 bytes is the smallest that may begin a connection (RFC 9000, section 14.1).
const INITIAL_LEN: usize = 1_200;
/// Nothing is kept of what is no hello; allocators and buffers that grow with the rate are some MiB.
const MEMORY: u64 = 16 << 20;

/// SplitMix64, as in the outage drills: the same flood again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(len).collect()
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }
}

/// One of five kinds, by turns.
fn garbage(random: &mut Random, hellos: &[hellos::ClientHello], number: usize) -> Vec<u8> {
    let hello = &hellos[random.below(hellos.len())].0[0];
    match number % 5 {
        // Anything.
        0 => {
            let len = random.below(1_400) + 1;
            random.bytes(len)
        }
        // A hello that was cut.
        1 => hello[..random.below(hello.len())].to_vec(),
        // A hello of a version that nobody speaks.
        2 => {
            let mut hello = hello.clone();
            hello[1..5].copy_from_slice(&random.bytes(4));
            hello
        }
        // A hello with a token that fills it: first byte, version 1, two connection ids of 8, the token's length (a
        // varint of two bytes), the token (RFC 9000, section 17.2.2).
        3 => {
            let mut hello = vec![0xC3, 0, 0, 0, 1, 8];
            hello.extend(random.bytes(8));
            hello.push(8);
            hello.extend(random.bytes(8));
            hello.extend(0x4000_u16.wrapping_add(1_100).to_be_bytes());
            let rest = INITIAL_LEN - hello.len();
            hello.extend(random.bytes(rest));
            hello
        }
        // A packet of a connection that there never was: it asks for a stateless reset.
        _ => {
            let mut packet = random.bytes(200);
            packet[0] = packet[0] & 0x3F | 0x40;
            packet
        }
    }
}

#[test]
fn a_flood_of_garbage_takes_no_memory_and_holds_up_nobody() {
    drill(&Setup { villains: 1, ..Setup::default() }, async |rig| {
        rig.start().await?;
        let hellos = hellos::make(&rig.link(&rig.villains[0].1), 100, &rig.clock).await?;
        let (mut random, count) = (Random(7), PER_SECOND * SECONDS);
        let flood: Vec<_> = (0..count as usize).map(|number| vec![garbage(&mut random, &hellos, number)]).collect();
        let spray = Spray::from(loopback(16), rig.quic, &rig.clock)?;
        let damage = rig
            .beside(async {
                spray.send(flood.into_iter(), PER_SECOND).await;
                Ok(())
            })
            .await?;
        ensure!(damage.lasted >= Duration::from_secs(SECONDS.into()), "the flood was cut");
        damage.memory_within(MEMORY)?;
        damage.cores_within(0.5)?;
        rig.nobody_half_open().await?;
        rig.finish().await?;
        Ok(())
    });
}
