//! Links between replicas: lanes, order, bounded queues, restarts, partitions, loss.

use std::time::Duration;

use crate::world::{Host, World};
use bytes::Bytes;
use qlab_kernel::{Lane, NodeId, NodeSet, Sink};
use qlab_transport::{Dropped, LinkControl, LinkRule, Options};

async fn pair(world: &mut World, options: Options) -> (Host, Host) {
    let (mut a, mut b) = (world.start(0, options.clone()), world.start(1, options));
    a.peer_up(1).await;
    b.peer_up(0).await;
    (a, b)
}

#[tokio::test]
async fn both_lanes_carry_frames_in_order_both_ways() {
    let (mut a, mut b) = pair(&mut World::new(2), Options::default()).await;
    for lane in [Lane::Control, Lane::Bulk] {
        for number in 0..100_u32 {
            assert!(a.send(1, lane, &number.to_le_bytes()));
        }
        for number in 0..100_u32 {
            let (from, frame) = b.frame_on(lane).await;
            assert_eq!((from, &frame[..]), (NodeId(0), &number.to_le_bytes()[..]));
            assert!(b.send(0, lane, &frame));
        }
        for number in 0..100_u32 {
            assert_eq!(a.frame_on(lane).await, (NodeId(1), Bytes::copy_from_slice(&number.to_le_bytes())));
        }
    }
    assert_eq!(a.endpoint.connected(), [NodeId(1)].into_iter().collect::<NodeSet>());
    let counts = a.endpoint.counts();
    assert_eq!((counts.peer_frames_out, counts.peer_frames_in, counts.peer_bytes_in), (200, 200, 1600));
    assert!(counts.udp_datagrams_out > 0 && counts.udp_bytes_in > 1600);
}

#[tokio::test]
async fn the_largest_frames_pass_and_larger_ones_do_not_leave() {
    let (a, mut b) = pair(&mut World::new(2), Options::default()).await;
    let largest = Bytes::from(vec![7; qlab_kernel::limits::FRAME_BYTES_MAX]);
    for _ in 0..10 {
        a.endpoint.send(NodeId(1), Lane::Bulk, |sink| sink.put_shared(&largest)).unwrap();
    }
    let too_large = a.endpoint.send(NodeId(1), Lane::Bulk, |sink| {
        sink.put(&[0]);
        sink.put_shared(&largest);
    });
    assert_eq!(too_large, Err(Dropped::Oversized));
    for _ in 0..10 {
        assert_eq!(b.frame_on(Lane::Bulk).await.1, largest);
    }
    assert_eq!(a.endpoint.counts().dropped_oversized, 1);
}

#[tokio::test]
async fn datagrams_pass_beside_the_streams_and_those_over_the_limit_or_too_many_are_counted() {
    let (mut a, mut b) = pair(&mut World::new(2), Options::default()).await;
    for number in 0..20_u32 {
        assert!(a.send(1, Lane::Datagram, &number.to_le_bytes()));
        assert_eq!(
            b.frame_on(Lane::Datagram).await,
            (NodeId(0), Bytes::copy_from_slice(&number.to_le_bytes()))
        );
    }
    assert!(b.send(0, Lane::Datagram, b"") && a.frame_on(Lane::Datagram).await.1.is_empty());
    assert!(!a.send(1, Lane::Datagram, &[7; 6000]), "with its headers it is larger than any here");
    // Nothing is sent before this task waits for something.
    let kept = (0..100).filter(|_| a.send(1, Lane::Datagram, &[7; 1000])).count();
    assert!((50..100).contains(&kept), "{kept} of 1,000 B fit 64 KiB");
    assert!(a.send(1, Lane::Control, b"streams do not mind"));
    assert_eq!(&b.frame_on(Lane::Control).await.1[..], b"streams do not mind");
    let counts = a.endpoint.counts();
    assert_eq!((counts.datagrams_out, counts.datagrams_in), (20 + kept as u64, 1));
    assert_eq!((counts.dropped_oversized, counts.dropped_queue_full), (1, 100 - kept as u64));
}

#[tokio::test]
async fn a_lossy_link_loses_datagrams_and_delivers_streams() {
    let link = LinkControl::new(7);
    let options = Options { link: Some(link.clone()), ..Options::default() };
    let mut world = World::new(2);
    let (mut a, mut b) = (world.start(0, options), world.start(1, Options::default()));
    a.peer_up(1).await;
    b.peer_up(0).await;
    link.set(LinkRule { loss: 0.3, ..LinkRule::default() });
    for number in 0..100_u32 {
        a.send(1, Lane::Datagram, &number.to_le_bytes());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    a.send(1, Lane::Control, b"all the same");
    assert_eq!(&b.frame_on(Lane::Control).await.1[..], b"all the same");
    let received = b.endpoint.counts().datagrams_in;
    assert!((40..95).contains(&received), "{received} of 100 came through");
}

#[tokio::test]
async fn a_full_queue_and_a_missing_peer_drop_frames_and_count_them() {
    let options = Options { control_queue_bytes_max: 1000, ..Options::default() };
    let (a, mut b) = pair(&mut World::new(3), options).await;
    // Nothing is written before this task waits for something.
    let kept = (0..20).filter(|_| a.send(1, Lane::Control, &[1; 96])).count();
    assert_eq!(kept, 10);
    assert_eq!(a.endpoint.send(NodeId(2), Lane::Bulk, |_| ()), Err(Dropped::NotConnected));
    assert_eq!(a.endpoint.send(NodeId(63), Lane::Bulk, |_| ()), Err(Dropped::NotConnected));
    assert_eq!(a.endpoint.send(NodeId(u16::MAX), Lane::Bulk, |_| ()), Err(Dropped::NotConnected));
    let counts = a.endpoint.counts();
    assert_eq!((counts.dropped_queue_full, counts.dropped_not_connected), (10, 3));
    for _ in 0..kept {
        b.frame_on(Lane::Control).await;
    }
}

#[tokio::test]
async fn a_restarted_peer_is_found_again_whoever_dials() {
    let mut world = World::new(3);
    let (mut low, middle) = pair(&mut world, Options::default()).await;
    let mut high = world.start(2, Options::default());
    high.peer_up(1).await;
    low.peer_up(2).await;
    middle.endpoint.close().await;
    drop(middle);
    low.peer_down(1).await;
    high.peer_down(1).await;
    let mut middle = restart(&mut world, 1).await;
    low.peer_up(1).await;
    high.peer_up(1).await;
    assert!(low.send(1, Lane::Bulk, b"from below") && high.send(1, Lane::Control, b"from above"));
    assert_eq!(middle.frame_on(Lane::Bulk).await, (NodeId(0), Bytes::from_static(b"from below")));
    low.send(1, Lane::Bulk, b"again");
    assert_eq!(middle.frame_on(Lane::Bulk).await.1, Bytes::from_static(b"again"));
}

async fn restart(world: &mut World, node: usize) -> Host {
    // The tasks of the old endpoint let go of its port a moment after it was closed.
    crate::world::eventually(|| {
        world.sockets[node] = qlab_transport::Socket::bind(world.address(node)).ok();
        world.sockets[node].is_some()
    })
    .await;
    world.start(node, Options::default())
}

#[tokio::test]
async fn a_killed_peer_tells_its_old_connections_when_it_is_back_that_they_are_void() {
    let mut world = World::new(2);
    let mut low = world.start(0, Options::default());
    let (socket, key, roster) =
        (world.sockets[1].take().unwrap(), world.identities[1].clone(), world.roster());
    let doomed = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { Host::start(socket, key, roster, Options::default()).peer_up(0).await });
        // Like a kill: no task of it runs again, nothing is said on the wire.
    });
    low.peer_up(1).await;
    crate::world::eventually(|| doomed.is_finished()).await;
    let mut reborn = restart(&mut world, 1).await;
    let back = Duration::from_secs(5);
    let found = async {
        let mut ticks = 0_u32;
        while !reborn.endpoint.connected().contains(NodeId(0)) {
            low.send(1, Lane::Control, &ticks.to_le_bytes());
            ticks += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // Half of the idle timeout: it was told, it did not wait.
    tokio::time::timeout(back, found).await.expect("the old connection ends at once");
    low.peer_down(1).await;
    low.peer_up(1).await;
    reborn.peer_up(0).await;
    low.send(1, Lane::Control, b"welcome back");
    reborn.frame_on(Lane::Control).await;
}

#[tokio::test]
async fn a_partition_stops_everything_until_it_heals() {
    let mut world = World::new(2);
    let control = LinkControl::new(1);
    let mut a = world.start(0, Options { link: Some(control.clone()), ..Options::default() });
    let mut b = world.start(1, Options::default());
    a.peer_up(1).await;
    b.peer_up(0).await;
    control.block_to(world.address(1));
    control.block_from(world.address(1));
    a.send(1, Lane::Control, b"late");
    b.send(0, Lane::Control, b"late, too");
    let nothing = tokio::time::timeout(Duration::from_millis(150), async {
        tokio::select! { _ = b.frame_on(Lane::Control) => {}, _ = a.frame_on(Lane::Control) => {} }
    });
    assert!(nothing.await.is_err(), "a partition lets nothing through");
    assert!(control.counts().blocked > 0);
    control.heal();
    assert_eq!(b.frame_on(Lane::Control).await.1, Bytes::from_static(b"late"));
    assert_eq!(a.frame_on(Lane::Control).await.1, Bytes::from_static(b"late, too"));
}

#[tokio::test]
async fn a_slow_lossy_link_that_duplicates_and_reorders_still_delivers_everything_in_order() {
    let mut world = World::new(2);
    let control = LinkControl::new(7);
    let delay = Duration::from_millis(5);
    control.set(LinkRule {
        delay,
        jitter: delay,
        loss: 0.1,
        duplication: 0.1,
        bytes_per_second: Some(50 << 20),
    });
    let options = Options { link: Some(control.clone()), ..Options::default() };
    let (a, mut b) = pair(&mut world, options).await;
    let payload = |number: u32| Bytes::from(vec![number as u8; 3000 + number as usize]);
    for number in 0..500 {
        a.endpoint.send(NodeId(1), Lane::Bulk, |sink| sink.put_shared(&payload(number))).unwrap();
    }
    for number in 0..500 {
        assert_eq!(b.frame_on(Lane::Bulk).await.1, payload(number));
    }
    let counts = control.counts();
    assert!(counts.lost > 0 && counts.duplicated > 0, "{counts:?}");
}
