//! Where the centre is reached, now: the lists of agent.toml, which a reload replaces.

use tokio::sync::watch;

/// The lists in force. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Addresses(watch::Sender<Lists>);

/// `host:port` each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lists {
    aggregators: Vec<String>,
    join: Vec<String>,
}

impl Addresses {
    /// Starts with these aggregators and these join ports of theirs.
    pub fn new(aggregators: Vec<String>, join: Vec<String>) -> Self {
        Self(watch::Sender::new(Lists { aggregators, join }))
    }

    /// The aggregator to try for the `turn`th time, one after the other and then the first again; none if there are none.
    pub fn aggregator(&self, turn: usize) -> Option<String> {
        let lists = self.0.borrow();
        lists.aggregators.get(turn.checked_rem(lists.aggregators.len())?).cloned()
    }

    /// All aggregators.
    pub fn aggregators(&self) -> Vec<String> {
        self.0.borrow().aggregators.clone()
    }

    /// The join ports.
    pub fn join(&self) -> Vec<String> {
        self.0.borrow().join.clone()
    }

    /// Other aggregators, from the next connection on.
    pub fn set_aggregators(&self, aggregators: Vec<String>) {
        self.0.send_modify(|lists| lists.aggregators = aggregators);
    }

    /// Other join ports, from the next question on.
    pub fn set_join(&self, join: Vec<String>) {
        self.0.send_modify(|lists| lists.join = join);
    }

    /// Returns once there is a join port.
    pub async fn some_join(&self) {
        // It cannot fail: this is a sender.
        let _ = self.0.subscribe().wait_for(|lists| !lists.join.is_empty()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_round_whatever_is_replaced() {
        let addresses = Addresses::new(vec!["a".into(), "b".into()], vec![]);
        let turns = |of: std::ops::Range<usize>| of.filter_map(|turn| addresses.aggregator(turn)).collect::<String>();
        assert_eq!(turns(0..3), "aba");
        addresses.set_aggregators(vec!["c".into()]);
        assert_eq!(turns(3..5), "cc");
        addresses.set_aggregators(vec![]);
        assert_eq!(addresses.aggregator(5), None);
    }
}
