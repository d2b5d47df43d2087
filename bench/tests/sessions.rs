//! Real replicas take requests in a session from its owner alone.

use bytes::Bytes;
use laboratory::fleet::{CLIENT, Fleet, FleetSpec};
use qlab_kernel::client::{AnswerBody, answers};
use qlab_kernel::{BatchBuilder, NodeId, Outcome, Request, Sequence, SessionId, Wire};
use qlab_machines::MachineKind;
use qlab_transport::{ClientEndpoint, Options, Socket};

/// What a new connection gives to the opening of a session, or why it ended.
async fn open(client: &ClientEndpoint, session: SessionId) -> Result<Vec<Bytes>, String> {
    let (sender, mut receiver) = client.connect(NodeId(0)).await.unwrap();
    let mut batch = BatchBuilder::new();
    batch.begin(session, Sequence::ZERO, Sequence::ZERO);
    let request = Request::Write(batch.finish());
    sender.send(|sink| request.encode(sink)).unwrap();
    let mut frames = Vec::new();
    receiver.receive(&mut frames).await.map_err(|end| end.to_string())?;
    Ok(frames)
}

#[test]
fn a_client_that_asks_in_anothers_session_is_cut_off_and_others_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let spec = FleetSpec {
        program: env!("CARGO_BIN_EXE_qlab").into(),
        dir: dir.path().join("fleet"),
        system: "unreplicated".into(),
        options: toml::Table::new(),
        machine: MachineKind::Kv,
        replicas: 1,
        durability: "memory".into(),
        seed: 3,
        emulated_link: false,
        byzantine: false,
        oscillators: Vec::new(),
    };
    let fleet = Fleet::start(spec).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = Socket::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let client = ClientEndpoint::start(
            socket,
            fleet.client().clone(),
            fleet.roster().unwrap(),
            Options::default(),
        )
        .unwrap();
        for stranger in [1, 7, u16::MAX] {
            assert!(open(&client, SessionId::owned(stranger, 5)).await.is_err());
        }
        let frames = open(&client, SessionId::owned(CLIENT, 5)).await.unwrap();
        let answer = answers(&frames[0]).next().unwrap().unwrap();
        let AnswerBody::Written(outcomes) = answer.body else { panic!("{answer:?}") };
        assert_eq!(outcomes.iter().next(), Some(Outcome::of(Outcome::OPENED)));
        client.close().await;
    });
    fleet.stop().unwrap();
}
