//! Checks whether the kernel grants the requested socket buffers, and tells what to set if not.

use std::{fmt, io};

use udp::UdpSocket;

/// A buffer that is smaller than requested.
#[derive(Debug, PartialEq, Eq)]
struct Cut {
    /// The system setting that limits it.
    setting: &'static str,
    /// What goes wrong because of it.
    loss: &'static str,
    asked: usize,
    granted: usize,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, loss, asked, granted } = self;
        write!(
            f,
            "{setting} cuts the buffer of each media socket to {granted} of {asked} bytes, so {loss}; \
             set it with `sysctl -w {setting}={asked}`"
        )
    }
}

/// Warns about the buffers of a socket that are smaller than `asked`.
pub(crate) fn warn_if_cut(socket: &UdpSocket, asked: usize) -> io::Result<()> {
    for cut in cuts(asked, socket.send_buffer()?, socket.recv_buffer()?) {
        tracing::warn!("{cut}");
    }
    Ok(())
}

/// `send`, `recv`: as the kernel reports them, which is twice what it grants, because it includes its own bookkeeping
/// (socket(7)).
fn cuts(asked: usize, send: usize, recv: usize) -> Vec<Cut> {
    let of = |setting, loss, told| Cut { setting, loss, asked, granted: told / 2 };
    let both = [
        of("net.core.wmem_max", "a picture for many viewers leaves in several goes", send),
        of("net.core.rmem_max", "datagrams are lost when many come at once", recv),
    ];
    both.into_iter().filter(|cut| cut.granted < asked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_is_cut_is_told_with_the_command_that_mends_it() {
        assert!(cuts(4 << 20, 8 << 20, 8 << 20).is_empty());
        let cut = cuts(4 << 20, 8 << 20, 425_984);
        let [cut] = &cut[..] else { panic!("{cut:?}") };
        let text = cut.to_string();
        assert!(text.contains("to 212992 of 4194304 bytes"), "{text}");
        assert!(text.contains("`sysctl -w net.core.rmem_max=4194304`"), "{text}");
        let cut = cuts(4 << 20, 425_984, 425_984);
        assert_eq!(
            cut.iter().map(|c| c.setting).collect::<Vec<_>>(),
            ["net.core.wmem_max", "net.core.rmem_max"]
        );
    }

    #[test]
    fn what_a_socket_was_granted_is_read_back() {
        let any = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
        let config = udp::UdpConfig {
            reuse_port: false,
            send_buffer: Some(64 << 10),
            recv_buffer: Some(64 << 10),
            ..udp::UdpConfig::new(any)
        };
        let socket = UdpSocket::bind(&config).unwrap();
        let (send, recv) = (socket.send_buffer().unwrap(), socket.recv_buffer().unwrap());
        assert!(cuts(64 << 10, send, recv).is_empty(), "every machine grants this");
        assert_eq!(cuts(1 << 30, send, recv).len(), 2);
    }
}
