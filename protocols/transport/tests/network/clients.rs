//! Conversations with clients: bursts both ways, limits, slow readers, broken frames.

use crate::world::{PATIENCE, World, eventually};
use bytes::Bytes;
use qlab_kernel::{NodeId, Sink};
use qlab_transport::{Arrival, Dropped, Options};
use tokio::time::timeout;

#[tokio::test]
async fn a_client_is_announced_answered_in_order_and_announced_gone() {
    let mut world = World::new(1);
    let mut host = world.start(0, Options::default());
    let (sender, mut receiver) = world.connect(0).await;
    let index = host.wait_for(|arrival| match arrival {
        Arrival::ClientUp { index, .. } => Some(*index),
        _ => None,
    });
    assert_eq!(index.await, 0);
    for number in 0..1000_u32 {
        sender.send(|sink| sink.put(&number.to_le_bytes())).unwrap();
    }
    for number in 0..1000_u32 {
        let (client, frame) = host.request().await;
        assert_eq!(frame, Bytes::copy_from_slice(&number.to_le_bytes()));
        host.endpoint.reply(client, |sink| sink.put(&frame)).unwrap();
    }
    let mut answers = Vec::new();
    while answers.len() < 1000 {
        timeout(PATIENCE, receiver.receive(&mut answers)).await.unwrap().unwrap();
    }
    assert!(answers.iter().zip(0..1000_u32).all(|(answer, number)| answer[..] == number.to_le_bytes()));
    drop((sender, receiver));
    let gone = host.wait_for(|arrival| match arrival {
        Arrival::ClientDown(client) => Some(*client),
        _ => None,
    });
    let gone = gone.await;
    assert_eq!(host.endpoint.reply(gone, |_| ()), Err(Dropped::NotConnected));
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_cut_off() {
    let mut world = World::new(1);
    let mut host = world.start(0, Options { client_queue_bytes_max: 1 << 20, ..Options::default() });
    let (sender, mut receiver) = world.connect(0).await;
    sender.send(|sink| sink.put(b"tell me everything")).unwrap();
    let (client, _) = host.request().await;
    let answer = Bytes::from(vec![0; 100_000]);
    let flood = async {
        while host.endpoint.reply(client, |sink| sink.put_shared(&answer)) != Err(Dropped::QueueFull) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, flood).await.unwrap();
    assert_eq!(host.endpoint.counts().refused_slow_client, 1);
    host.wait_for(|arrival| (*arrival == Arrival::ClientDown(client)).then_some(())).await;
    let mut answers = Vec::new();
    let end = async { while receiver.receive(&mut answers).await.is_ok() {} };
    timeout(PATIENCE, end).await.expect("the client learns that it was cut off");
}

#[tokio::test]
async fn more_clients_than_allowed_are_refused() {
    let mut world = World::new(1);
    let host = world.start(0, Options { clients_max: 1, ..Options::default() });
    let (_sender, _receiver) = world.connect(0).await;
    eventually(|| host.endpoint.counts().connections == 1).await;
    let (_other_sender, mut other) = world.connect(0).await;
    assert!(timeout(PATIENCE, other.receive(&mut Vec::new())).await.unwrap().is_err());
    assert_eq!(host.endpoint.counts().refused_overload, 1);
}

#[tokio::test]
async fn a_client_that_sends_nonsense_is_rejected_by_the_host() {
    let mut world = World::new(1);
    let mut host = world.start(0, Options::default());
    let (sender, mut receiver) = world.connect(0).await;
    sender.send(|sink| sink.put(b"nonsense")).unwrap();
    let (client, _) = host.request().await;
    host.endpoint.reject_client(client);
    assert!(timeout(PATIENCE, receiver.receive(&mut Vec::new())).await.unwrap().is_err());
    assert_eq!(host.endpoint.counts().refused_bad_frame, 1);
    assert_eq!(sender.send(|_| ()), Err(Dropped::NotConnected));
}

#[tokio::test]
async fn a_host_that_does_not_take_requests_holds_its_client_back_and_loses_nothing() {
    let mut world = World::new(1);
    let mut host = world.start(0, Options { inbox_bytes_max: 64 << 10, ..Options::default() });
    let (sender, _receiver) = world.connect(0).await;
    let request = Bytes::from(vec![1; 64 << 10]);
    let mut accepted = 0;
    // Until windows and queues are full: QUIC holds 4 MiB at the far side and 8 here, the queue another 8.
    let stuffed = async {
        for _ in 0..3 {
            while sender.send(|sink| sink.put_shared(&request)).is_ok() {
                accepted += 1;
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, stuffed).await.expect("a host that takes nothing is not sent to for ever");
    for _ in 0..accepted {
        assert_eq!(host.request().await.1, request);
    }
}

#[tokio::test]
async fn connecting_to_a_replica_that_is_not_listed_is_an_error() {
    let world = World::new(1);
    let client = world.client_endpoint(world.client.clone(), Options::default());
    assert!(client.connect(NodeId(9)).await.is_err());
}
