//! A bounded queue between many async callers and the threads that work for them.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bounded by weight (bytes) and by count.
#[derive(Debug)]
pub struct Queue<T> {
    inner: Mutex<Inner<T>>,
    ready: Condvar,
    max_weight: usize,
    max_count: usize,
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<(T, usize)>,
    weight: usize,
    closed: bool,
}

/// Why an item was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As much waits as may.
    Full,
    /// Nothing is taken any more.
    Closed,
}

/// What a thread got from the queue.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<T> {
    /// In order; never empty.
    Items(Vec<T>),
    /// Nothing came in the time.
    Nothing,
    /// Nothing is left and nothing will come.
    Closed,
}

impl<T> Queue<T> {
    /// A queue for items of `max_weight` together, `max_count` at most.
    pub fn new(max_weight: usize, max_count: usize) -> Self {
        let inner = Inner { items: VecDeque::new(), weight: 0, closed: false };
        Self { inner: Mutex::new(inner), ready: Condvar::new(), max_weight, max_count }
    }

    /// Takes an item. One that alone is over the weight is taken by an empty queue, or it could never be.
    pub fn push(&self, item: T, weight: usize) -> Result<(), Refused> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Refused::Closed);
        }
        let heavy = inner.weight.saturating_add(weight) > self.max_weight && !inner.items.is_empty();
        if heavy || inner.items.len() >= self.max_count {
            return Err(Refused::Full);
        }
        inner.weight = inner.weight.saturating_add(weight);
        inner.items.push_back((item, weight));
        drop(inner);
        self.ready.notify_one();
        Ok(())
    }

    /// Takes what is there, up to a weight (but at least one item); waits for the first one, for ever if `wait` is none.
    pub fn take(&self, max_weight: usize, wait: Option<Duration>) -> Taken<T> {
        let mut inner = self.lock();
        let idle = |inner: &mut Inner<T>| inner.items.is_empty() && !inner.closed;
        inner = match wait {
            None => self.ready.wait_while(inner, idle).unwrap_or_else(PoisonError::into_inner),
            Some(time) => self.ready.wait_timeout_while(inner, time, idle).unwrap_or_else(PoisonError::into_inner).0,
        };
        let (mut items, mut taken) = (Vec::new(), 0usize);
        while let Some((_, weight)) = inner.items.front() {
            if !items.is_empty() && taken.saturating_add(*weight) > max_weight {
                break;
            }
            taken = taken.saturating_add(*weight);
            items.extend(inner.items.pop_front().map(|(item, _)| item));
        }
        inner.weight = inner.weight.saturating_sub(taken);
        match (items.is_empty(), inner.closed) {
            (false, _) => Taken::Items(items),
            (true, true) => Taken::Closed,
            (true, false) => Taken::Nothing,
        }
    }

    /// Takes nothing more; what is there is still handed out.
    pub fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_drains_after_it_closed() {
        let queue = Queue::new(10, 3);
        assert_eq!(queue.push('a', 99), Ok(()), "an empty queue takes anything");
        assert_eq!(queue.push('b', 1), Err(Refused::Full));
        assert_eq!(queue.take(5, None), Taken::Items(vec!['a']));
        for item in ['b', 'c', 'd'] {
            assert_eq!(queue.push(item, 3), Ok(()));
        }
        assert_eq!(queue.push('e', 0), Err(Refused::Full), "by count");
        assert_eq!(queue.take(6, None), Taken::Items(vec!['b', 'c']));
        queue.close();
        assert_eq!(queue.push('e', 0), Err(Refused::Closed));
        assert_eq!(queue.take(6, None), Taken::Items(vec!['d']));
        assert_eq!(queue.take(6, None), Taken::Closed);
        assert_eq!(Queue::<u8>::new(1, 1).take(1, Some(Duration::ZERO)), Taken::Nothing);
    }
}
