//! Data messages on their way from signaling to the worker that owns the session. They are kept beside the orders in the
//! directory: orders are replaced by newer ones, and messages are not.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use crossbeam_queue::SegQueue;
use model::{DataToSend, Delivery};

/// Bytes of the messages that may wait for one session, until the peer's data channels are open and take them.
const BYTES_MAX: usize = 1 << 20;
/// Lossy messages are dropped from here on, so that there is room for reliable ones.
const LOSSY_BYTES_MAX: usize = BYTES_MAX / 2;
/// What a waiting message counts beside its bytes.
const OVERHEAD: usize = 256;

/// The messages that wait for one session, in order.
#[derive(Debug, Default)]
pub(crate) struct DataQueue {
    messages: SegQueue<Arc<DataToSend>>,
    /// Bytes of the messages in the queue, and of the one that was taken and not sent yet.
    bytes: AtomicUsize,
    /// Reliable messages that were dropped, until the owner takes the number.
    lost: AtomicU64,
    /// Lossy messages that were dropped, until the owner takes the number.
    dropped: AtomicU64,
}

impl DataQueue {
    /// Adds a message, or drops it at the bound.
    pub(crate) fn push(&self, message: &Arc<DataToSend>) {
        let (most, lost) = match message.delivery {
            Delivery::Reliable => (BYTES_MAX, &self.lost),
            Delivery::Lossy => (LOSSY_BYTES_MAX, &self.dropped),
        };
        let size = size(message);
        // Commands about one session come one after the other, so nobody else adds meanwhile.
        if self.bytes.load(Relaxed) + size > most {
            lost.fetch_add(1, Relaxed);
            return;
        }
        self.bytes.fetch_add(size, Relaxed);
        self.messages.push(Arc::clone(message));
    }

    /// Takes the oldest message. Its bytes count until [`done`](Self::done).
    pub(crate) fn pop(&self) -> Option<Arc<DataToSend>> {
        self.messages.pop()
    }

    /// A message that was taken does not wait any more.
    pub(crate) fn done(&self, message: &DataToSend) {
        self.bytes.fetch_sub(size(message), Relaxed);
    }

    /// How many reliable and lossy messages were dropped here since the last call.
    pub(crate) fn take_dropped(&self) -> (u64, u64) {
        (self.lost.swap(0, Relaxed), self.dropped.swap(0, Relaxed))
    }
}

/// What a message counts: its longer form, of which one is sent. Receivers share the bytes, but each keeps them.
fn size(message: &DataToSend) -> usize {
    message.plain.as_bytes().len().max(message.enveloped.as_bytes().len()) + OVERHEAD
}

#[cfg(test)]
mod tests {
    use model::Payload;

    use super::*;

    fn message(delivery: Delivery, len: usize) -> Arc<DataToSend> {
        let payload = Payload::Binary(vec![0; len].into());
        Arc::new(DataToSend {
            topic: "t".into(),
            delivery,
            enveloped: payload.clone(),
            plain: payload,
        })
    }

    fn taken(queue: &DataQueue) -> usize {
        let all = std::iter::from_fn(|| queue.pop());
        all.inspect(|message| queue.done(message)).count()
    }

    #[test]
    fn lossy_messages_are_dropped_first_and_reliable_ones_are_counted_when_they_are() {
        let queue = DataQueue::default();
        let (lossy, reliable) =
            (message(Delivery::Lossy, 1_000), message(Delivery::Reliable, 1_000));
        (0..2_000).for_each(|_| queue.push(&lossy));
        (0..2_000).for_each(|_| queue.push(&reliable));
        let half = LOSSY_BYTES_MAX / 1_256;
        assert_eq!(taken(&queue), BYTES_MAX / 1_256);
        let lost = 2_000 - (BYTES_MAX / 1_256 - half) as u64;
        assert_eq!(queue.take_dropped(), (lost, 2_000 - half as u64));
        assert_eq!(queue.take_dropped(), (0, 0));
        queue.push(&lossy);
        assert_eq!(taken(&queue), 1, "there is room again");
        assert_eq!(queue.bytes.load(Relaxed), 0);
    }

    #[test]
    fn short_messages_are_bounded_in_number() {
        let queue = DataQueue::default();
        let short = message(Delivery::Reliable, 0);
        (0..10_000).for_each(|_| queue.push(&short));
        assert_eq!(taken(&queue), BYTES_MAX / OVERHEAD);
    }
}
