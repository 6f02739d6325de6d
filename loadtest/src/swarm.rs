//! All threads of a run: started, given orders, ended. The director decides what happens when.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use transport::dtls::Certificate;
use udp::WakeFd;

use crate::{
    bot::{BotId, Shared},
    clock::{Clock, Directory},
    plan::Plan,
    random::Random,
    signal::{Mailbox, Signaler},
    thread::{BotThread, News, Order, Start},
};

/// The threads.
pub(crate) struct Swarm {
    mailboxes: Vec<Mailbox>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    pub(crate) news: Receiver<News>,
    pub(crate) signaler: Signaler,
    /// When the first second began.
    pub(crate) epoch: Instant,
}

impl Swarm {
    /// Starts everything.
    ///
    /// # Errors
    /// The machine has no threads, descriptors or randomness to give.
    pub(crate) fn start(plan: &Plan, random: &mut Random) -> io::Result<Swarm> {
        let certificate = Arc::new(Certificate::generate().map_err(io::Error::other)?);
        let signaler = Signaler::start(plan.requests, plan.insecure)?;
        let (sender, news) = channel();
        let (clock, directory) = (Clock::new(), Arc::new(Directory::new()));
        let run = random.next() as u32;
        let epoch = Instant::now();
        let (mut mailboxes, mut threads) = (Vec::new(), Vec::new());
        for index in 0..plan.threads {
            let (order_sender, orders) = channel();
            let mailbox = Mailbox { orders: order_sender, wake: Arc::new(WakeFd::new()?) };
            let bots = BotThread::new(Start {
                index,
                shared: Shared {
                    run,
                    clock,
                    directory: Arc::clone(&directory),
                    certificate: Arc::clone(&certificate),
                    bind: plan.bind,
                    local: plan.local,
                    server: plan.server_ip,
                    gro: plan.gro,
                    gso: plan.gso,
                    burst: plan.burst,
                    warm_up: plan.warm_up,
                },
                orders,
                mailbox: mailbox.clone(),
                news: sender.clone(),
                signaler: signaler.clone(),
                epoch,
                seed: random.next(),
            })?;
            threads.push(
                thread::Builder::new().name(format!("bots-{index}")).spawn(move || bots.run())?,
            );
            mailboxes.push(mailbox);
        }
        Ok(Swarm { mailboxes, threads, news, signaler, epoch })
    }

    /// Number of threads.
    pub(crate) fn threads(&self) -> usize {
        self.mailboxes.len()
    }

    /// An order for one bot, to the thread that it lives in.
    pub(crate) fn order(&self, bot: BotId, order: Order) {
        self.mailboxes[bot.0 as usize % self.mailboxes.len()].send(order);
    }

    /// An order for all threads.
    pub(crate) fn order_all(&self, order: impl Fn() -> Order) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.send(order()));
    }

    /// Waits for the threads to end; they were told to before.
    ///
    /// # Errors
    /// A thread failed or panicked.
    pub(crate) fn join(self) -> io::Result<()> {
        for thread in self.threads {
            thread.join().map_err(|_| io::Error::other("a thread of bots met a defect"))??;
        }
        Ok(())
    }
}
