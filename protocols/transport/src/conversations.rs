//! Clients at a replica: each has one connection with one stream, frames both ways.

use std::sync::Arc;

use quinn::{RecvStream, SendStream};

use crate::counters::Refused;
use crate::endpoint::Shared;
use crate::inbox::{Arrival, ClientId, Source};
use crate::outbox::Outbox;
use crate::stream::{CloseReason, FrameReader, ReadEnd, punish, wire_bytes, write_frames};
use crate::tls::Plane;

/// A client's connection and the answers that wait for it.
#[derive(Debug)]
pub(crate) struct Conversation {
    connection: quinn::Connection,
    pub(crate) outbox: Outbox,
}

impl Conversation {
    pub(crate) fn cut_off(&self, reason: CloseReason) {
        self.outbox.close();
        reason.close(&self.connection);
    }
}

/// A connection from a proven client, from the first frame to the last.
pub(crate) async fn run(shared: &Arc<Shared>, connection: &quinn::Connection, index: usize) {
    let Some((client, conversation)) = install(shared, connection, index) else {
        shared.counters.refused(Refused::Overload);
        return CloseReason::Overload.close(connection);
    };
    if let Ok((send, receive)) = connection.accept_bi().await {
        tokio::spawn(answer(Arc::clone(shared), Arc::clone(&conversation), send));
        let end = listen(shared, client, receive).await;
        punish(&end, connection, &shared.counters);
        tracing::debug!(client = client.0, %end, "client connection ended");
    }
    conversation.cut_off(CloseReason::Done);
    shared.conversations().remove(&client);
    shared.arrivals.announce(Source::Client, Arrival::ClientDown(client));
}

fn install(
    shared: &Shared,
    connection: &quinn::Connection,
    index: usize,
) -> Option<(ClientId, Arc<Conversation>)> {
    let mut conversations = shared.conversations();
    if conversations.len() >= shared.options.clients_max {
        return None;
    }
    let client = shared.next_client();
    let outbox = Outbox::new(shared.options.client_queue_bytes_max);
    let conversation = Arc::new(Conversation { connection: connection.clone(), outbox });
    conversations.insert(client, Arc::clone(&conversation));
    shared.arrivals.announce(Source::Client, Arrival::ClientUp { client, index });
    Some((client, conversation))
}

async fn answer(shared: Arc<Shared>, conversation: Arc<Conversation>, stream: SendStream) {
    // It ends with the connection, which whoever listens notices, too.
    let _ = write_frames(stream, &conversation.outbox, Plane::Client, &shared.counters).await;
}

async fn listen(shared: &Shared, from: ClientId, stream: RecvStream) -> ReadEnd {
    let mut reader = FrameReader::new(stream);
    let mut frames = Vec::new();
    loop {
        shared.arrivals.room(Source::Client).await;
        if let Err(end) = reader.read(&mut frames).await {
            return end;
        }
        shared.counters.received(Plane::Client, frames.len(), wire_bytes(&frames));
        let burst = frames.drain(..).map(|frame| Arrival::Client { from, frame });
        shared.arrivals.deliver(Source::Client, burst);
    }
}
