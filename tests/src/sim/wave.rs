//! How a simulated metric moves: a pure function of seed, column and tick.
//!
//! Nothing is remembered from tick to tick. A host that is killed goes on where it would have been, counters never fall,
//! and whoever knows the seed can say afterwards what every stored sample has to be.

/// The shape of one metric over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wave {
    /// Hardly any host ever changes it.
    Still(u64),
    /// A counter that grows by so many thousandths a second, unevenly.
    Rises(u64),
    /// A gauge that wanders within `around ± by`, turning about every `over` seconds.
    Sways {
        around: u64,
        /// Not more than `around`.
        by: u64,
        over: u64,
    },
    /// Unavailable for one minute in ten, like the size of a mount whose server is away; else this value.
    AtTimes(u64),
}

/// What makes one column of one host different from all others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noise {
    pub(super) seed: u64,
    pub(super) column: u64,
}

impl Noise {
    /// A number for a moment, always the same one.
    fn at(self, moment: u64) -> u64 {
        mix(mix(self.seed ^ mix(self.column)) ^ moment)
    }

    /// What a host is, whatever the time: 500 to 1499 thousandths of the usual.
    fn size(self) -> u64 {
        500 + mix(self.seed.wrapping_add(self.column << 32)) % 1000
    }
}

impl Wave {
    /// The value at `tick`; `None` is unavailable.
    pub(super) fn value(self, noise: Noise, tick: u64) -> Option<u64> {
        match self {
            Self::Still(value) => Some(value),
            Self::Rises(rate) => {
                let rate = rate * noise.size() / 1000;
                // Less than half a step, so that an uneven counter is a rising one.
                let uneven = noise.at(tick) % (rate / 2000 + 1);
                // 128 bits: no uptime is too long.
                let grown = u128::from(tick) * u128::from(rate) / 1000 + u128::from(uneven);
                Some(u64::try_from(grown).unwrap_or(u64::MAX))
            }
            Self::Sways { around, by, over } => {
                let (span, within) = (2 * by + 1, tick % over);
                let (from, to) = (noise.at(tick / over) % span, noise.at(tick / over + 1) % span);
                let trend = (from * (over - within) + to * within) / over;
                // A tenth of the way to anywhere: no gauge of a real host moves in a straight line.
                let shiver = noise.at(!tick) % span;
                Some(around - by + (trend * 9 + shiver) / 10)
            }
            Self::AtTimes(value) => (!noise.at(tick / 60).is_multiple_of(10)).then_some(value),
        }
    }
}

/// SplitMix64's finaliser (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKS: std::ops::Range<u64> = 100_000..101_000;

    fn values(wave: Wave, seed: u64) -> Vec<u64> {
        TICKS.filter_map(|tick| wave.value(Noise { seed, column: 3 }, tick)).collect()
    }

    #[test]
    fn a_counter_never_falls_and_grows_as_fast_as_it_should() {
        for rate in [0, 7, 999, 2000, 150_000, 90_000_000] {
            for seed in 0..20 {
                let values = values(Wave::Rises(rate), seed);
                assert!(values.is_sorted(), "rate {rate}, seed {seed}");
                let grown = (values[values.len() - 1] - values[0]) as f64;
                let whole = rate as f64 * 0.999;
                assert!((0.45 * whole - 2.0..=1.55 * whole + 2.0).contains(&grown), "{rate}, {seed}: {grown}");
            }
        }
        assert_eq!(Wave::Rises(u64::MAX / 2000).value(Noise { seed: 1, column: 1 }, u64::MAX), Some(u64::MAX));
    }

    #[test]
    fn a_gauge_stays_within_its_bounds_and_moves() {
        let values = values(Wave::Sways { around: 500, by: 500, over: 30 }, 7);
        assert!(values.iter().all(|value| *value <= 1000));
        assert!(values.iter().max() > values.iter().min());
    }

    #[test]
    fn what_is_away_at_times_is_away_for_a_minute_in_ten() {
        let there = values(Wave::AtTimes(4), 5).len();
        assert!((700..1000).contains(&there), "{there}");
    }

    #[test]
    fn the_same_seed_gives_the_same_values_and_another_one_others() {
        let wave = Wave::Rises(50_000);
        assert_eq!(values(wave, 1), values(wave, 1));
        assert_ne!(values(wave, 1), values(wave, 2));
    }
}
