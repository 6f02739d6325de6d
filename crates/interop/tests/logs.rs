//! Datagrams of strangers write no log line at the default level. In a process of its own, because the log belongs to
//! the process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use sfumato_interop::Node;
use tracing_subscriber::filter::LevelFilter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn strangers_datagrams_write_no_log_line() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .with_writer(move || writer.clone())
        .init();
    let node = Node::start(2);
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = ("127.0.0.1", node.port());
    let mut sent = 0;
    for len in (0..1_600).step_by(13) {
        for first in [0x00, 0x01, 0x16, 0x17, 0x40, 0x80, 0x81, 0xff] {
            let mut bytes = vec![0x5a; len];
            bytes.iter_mut().take(1).for_each(|b| *b = first);
            if let Some(cookie) = bytes.get_mut(4..8).filter(|_| first == 0) {
                cookie.copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
            }
            stranger.send_to(&bytes, to).unwrap();
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let end = Instant::now() + Duration::from_secs(5);
    while node.metrics().datagrams_in < sent && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    let metrics = node.metrics();
    let dropped: u64 = metrics.dropped_in.iter().map(|(_, n)| n).sum();
    assert_eq!((metrics.datagrams_in, dropped), (sent, sent), "all are counted instead");
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text, "");
    tracing::info!("a line");
    assert!(!log.0.lock().unwrap().is_empty(), "the log works");
}
