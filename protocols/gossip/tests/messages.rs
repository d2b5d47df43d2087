//! The codec: what is encoded is decoded, and no bytes do harm.

use bytes::Bytes;
use proptest::prelude::*;
use qlab_gossip::digest::{Digest, Summary};
use qlab_gossip::key::{Key, Kind};
use qlab_gossip::membership::{Belief, Health, Incarnation, Rumour};
use qlab_gossip::message::{Body, ENVELOPE_BYTES_MAX, encoded_bytes};
use qlab_gossip::store::{Delta, Entry};
use qlab_gossip::{Actor, Life, Message, Object};
use qlab_kernel::{NodeId, Wire};

fn incarnation() -> impl Strategy<Value = Incarnation> {
    (1_u32..9, any::<u32>()).prop_map(|(life, objections)| Incarnation { life: Life(life), objections })
}

fn rumour() -> impl Strategy<Value = Rumour> {
    let health = prop_oneof![Just(Health::Alive), Just(Health::Suspect), Just(Health::Dead)];
    (any::<u16>(), incarnation(), health).prop_map(|(node, incarnation, health)| Rumour {
        node: NodeId(node),
        belief: Belief { incarnation, health },
    })
}

fn actor() -> impl Strategy<Value = Actor> {
    (0_u16..50, 1_u32..4).prop_map(|(node, life)| Actor { node: NodeId(node), life: Life(life) })
}

fn summaries() -> impl Strategy<Value = Vec<Summary>> {
    prop::collection::btree_map(actor(), (any::<u64>(), any::<u64>()), 0..6).prop_map(|known| {
        known
            .into_iter()
            .map(|(origin, (forgotten, version))| Summary {
                origin,
                forgotten,
                version,
                fingerprint: version ^ 7,
            })
            .collect()
    })
}

fn delta() -> impl Strategy<Value = Delta> {
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..20));
    let entry = (1_u64..5, 0_usize..7, any::<u32>(), value);
    (actor(), any::<u64>(), 0_u64..100, prop::collection::vec(entry, 0..5)).prop_map(
        |(origin, forgotten, after, steps)| {
            let mut version = after;
            let mut entries = Vec::new();
            for (step, kind, part, value) in steps {
                version += step;
                let key = Key { kind: Kind::ALL[kind], name: Bytes::from_static(b"name"), part };
                entries.push(Entry { version, key, value: value.map(Bytes::from) });
            }
            Delta { origin, forgotten, after, version: version + 1, entries }
        },
    )
}

fn body() -> impl Strategy<Value = Body> {
    let node = || any::<u16>().prop_map(NodeId);
    prop_oneof![
        (summaries(), any::<bool>()).prop_map(|(summaries, whole)| {
            let end = Actor { node: NodeId(60), life: Life::FIRST };
            Body::Digest(Digest { from: Actor::MIN, summaries, until: (!whole).then_some(end) })
        }),
        summaries().prop_map(Body::Want),
        prop::collection::vec(delta(), 0..4).prop_map(Body::Deltas),
        (any::<u64>(), node()).prop_map(|(sequence, asker)| Body::Ping { sequence, asker }),
        (any::<u64>(), node(), node()).prop_map(|(sequence, asker, target)| Body::Ack {
            sequence,
            asker,
            target
        }),
        (any::<u64>(), node()).prop_map(|(sequence, target)| Body::PingRequest { sequence, target }),
    ]
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        incarnation in incarnation(), rumours in prop::collection::vec(rumour(), 0..9), body in body(),
    ) {
        let message = Message { incarnation, rumours, body };
        let bytes = encoded(&message);
        prop_assert_eq!(bytes.len(), encoded_bytes(&message));
        prop_assert_eq!(Message::decode_all(bytes.into()), Ok(message));
    }

    #[test]
    fn a_damaged_message_is_refused_or_is_another(
        incarnation in incarnation(), body in body(), at in any::<prop::sample::Index>(), flip in 1_u8..,
    ) {
        let mut bytes = encoded(&Message { incarnation, rumours: Vec::new(), body });
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(other) = Message::decode_all(bytes.clone().into()) {
            prop_assert_eq!(encoded(&other), bytes);
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0_usize..7) {
        let bytes = Bytes::from(bytes);
        if let Ok(message) = Message::decode_all(bytes.clone()) {
            prop_assert_eq!(encoded(&message), bytes.to_vec());
        }
        if let Ok(object) = Object::decode(Kind::ALL[kind], bytes.clone()) {
            prop_assert_eq!(object.encode(), bytes);
        }
    }
}

#[test]
fn the_envelope_is_no_larger_than_it_says() {
    let rumour = Rumour { node: NodeId(1), belief: Belief::FIRST };
    let body = Body::Deltas(Vec::new());
    let fullest = Message { incarnation: Incarnation::FIRST, rumours: vec![rumour; 8], body };
    assert_eq!(encoded_bytes(&fullest), ENVELOPE_BYTES_MAX);
    let too_many = Message { rumours: vec![rumour; 9], ..fullest };
    assert!(Message::decode_all(encoded(&too_many).into()).is_err());
}
