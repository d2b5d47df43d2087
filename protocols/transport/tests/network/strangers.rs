//! Whoever has the wrong key, speaks the wrong protocol or breaks the rules: refused, counted, harmless.

use crate::world::{World, any_port, eventually};
use qlab_kernel::{Lane, NodeId};
use qlab_transport::{
    ClientEndpoint, ConnectError, Endpoint, Identity, Options, ReplicaEntry, Roster, Socket, StartError,
};

#[tokio::test]
async fn a_stranger_is_refused_by_the_replica_it_dials() {
    let mut world = World::new(1);
    let host = world.start(0, Options::default());
    let stranger = world.client_endpoint(Identity::generate().unwrap(), Options::default());
    // TLS 1.3 lets a client believe in its connection until its key has been looked at: then it is closed.
    if let Ok((_sender, mut receiver)) = stranger.connect(NodeId(0)).await {
        assert!(receiver.receive(&mut Vec::new()).await.is_err());
    }
    eventually(|| host.endpoint.counts().refused_unknown_key == 1).await;
    assert_eq!(host.endpoint.counts().connections, 0);
}

#[tokio::test]
async fn a_replica_with_another_key_than_the_roster_says_is_refused_by_whoever_dials_it() {
    let mut world = World::new(2);
    let impostor = world.start(0, Options::default());
    world.entries[0].fingerprint = Identity::generate().unwrap().fingerprint();
    let client = world.client_endpoint(world.client.clone(), Options::default());
    let outcome = client.connect(NodeId(0)).await;
    assert!(matches!(outcome, Err(ConnectError::Dial { .. })), "{outcome:?}");
    assert_eq!(client.counts().refused_unknown_key, 1);
    eventually(|| impostor.endpoint.counts().refused_handshake == 1).await;
}

#[tokio::test]
async fn two_replicas_that_do_not_know_each_other_never_connect() {
    let mut world = World::new(2);
    let strangers = |world: &World, node: usize| {
        let mut entries = world.entries.clone();
        entries[1 - node].fingerprint = Identity::generate().unwrap().fingerprint();
        Roster::new("test", entries, vec![]).unwrap()
    };
    let (for_a, for_b) = (strangers(&world, 0), strangers(&world, 1));
    let a = world.start_with(0, for_a, Options::default());
    let b = world.start_with(1, for_b, Options::default());
    eventually(|| a.endpoint.counts().refused_unknown_key >= 2).await;
    assert!(a.endpoint.connected().is_empty() && b.endpoint.connected().is_empty());
}

#[tokio::test]
async fn a_clients_key_cannot_speak_on_the_peer_plane() {
    let mut world = World::new(2);
    let host = world.start(1, Options::default());
    // The client poses as a replica of the lowest seat: its own roster says that it is one.
    let (socket, client) = (any_port(), world.client.clone());
    let posing =
        ReplicaEntry { node: NodeId(0), fingerprint: client.fingerprint(), address: socket.local_address() };
    let roster = Roster::new("test", vec![posing, world.entries[1]], vec![]).unwrap();
    let (_posing, _inbox) = Endpoint::start(socket, client, roster, Options::default()).unwrap();
    eventually(|| host.endpoint.counts().refused_wrong_plane >= 1).await;
    assert!(host.endpoint.connected().is_empty());
}

#[tokio::test]
async fn a_replicas_key_cannot_speak_on_the_client_plane() {
    let mut world = World::new(2);
    let host = world.start(0, Options::default());
    let posing = world.client_endpoint(world.identities[1].clone(), Options::default());
    if let Ok((_sender, mut receiver)) = posing.connect(NodeId(0)).await {
        assert!(receiver.receive(&mut Vec::new()).await.is_err());
    }
    eventually(|| host.endpoint.counts().refused_wrong_plane == 1).await;
}

#[tokio::test]
async fn another_clusters_protocol_is_refused() {
    let mut world = World::new(1);
    let host = world.start(0, Options::default());
    let elsewhere = Roster::new("elsewhere", world.entries.clone(), vec![]).unwrap();
    let client =
        ClientEndpoint::start(any_port(), world.client.clone(), elsewhere, Options::default()).unwrap();
    assert!(client.connect(NodeId(0)).await.is_err());
    eventually(|| host.endpoint.counts().refused_wrong_plane == 1).await;
    assert_eq!(client.counts().refused_wrong_plane, 1);
}

#[tokio::test]
async fn an_unlisted_key_starts_no_replica() {
    let world = World::new(1);
    let unlisted = Identity::generate().unwrap();
    let outcome = Endpoint::start(any_port(), unlisted, world.roster(), Options::default());
    assert!(matches!(outcome, Err(StartError::NotAReplica(..))));
}

#[tokio::test]
async fn garbage_on_the_port_is_harmless() {
    let mut world = World::new(2);
    let (mut a, mut b) = (world.start(0, Options::default()), world.start(1, Options::default()));
    let noise = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for number in 0..2000_u32 {
        let seed = number.wrapping_mul(2_654_435_761);
        let garbage: Vec<u8> = (0..seed % 1400).map(|i| (seed.rotate_left(i % 32) ^ i) as u8).collect();
        noise.send_to(&garbage, world.address(1)).await.unwrap();
    }
    a.peer_up(1).await;
    b.peer_up(0).await;
    assert!(a.send(1, Lane::Bulk, b"unharmed"));
    assert_eq!(&b.frame_on(Lane::Bulk).await.1[..], b"unharmed");
}

#[test]
fn a_port_that_is_taken_cannot_be_bound_again() {
    let socket = any_port();
    assert!(Socket::bind(socket.local_address()).is_err());
}
