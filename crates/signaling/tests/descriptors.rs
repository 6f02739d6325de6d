//! No file descriptor is left: the accept loop goes on, and accepts within a second after descriptors are free. Alone
//! in its process, since the limit is the process's.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::Node;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn accept_survives_a_lack_of_descriptors() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = runtime.block_on(Node::start());
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let old = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(open + 20), maximum: old.maximum }).unwrap();

    let mut early = TcpStream::connect(node.address).unwrap();
    ask(&mut early).unwrap();

    // All descriptors but one are taken; that one is for the client's end of a connection.
    let mut hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    hoard.pop().unwrap();
    let mut waiting = TcpStream::connect(node.address).unwrap();
    assert!(File::open("/dev/null").is_err());
    waiting.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    assert!(ask(&mut waiting).is_err(), "accept never lacked a descriptor");
    // Present connections are still served.
    ask(&mut early).unwrap();

    let relief = Instant::now();
    drop(hoard);
    waiting.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    read(&mut waiting).unwrap();
    assert!(relief.elapsed() < Duration::from_secs(1), "{:?}", relief.elapsed());
}

fn ask(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")?;
    read(stream)
}

/// Reads an answer and checks that it is a success.
fn read(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
    Ok(())
}
