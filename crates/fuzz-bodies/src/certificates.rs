//! DTLS datagrams into a client and a server that show each other certificates: the handshake of [`crate::dtls`], with flights that
//! are longer, in fragments, and full of what a parser of certificates reads.
//!
//! The keys and certificates here are made for this and nothing else. `root` vouches for `server` and `client`, and for nobody else.

use core::time::Duration;

use fieldgate_dtls::{
    CipherSuite, ClientConfig, Identity, PskKey, Roots, ServerCertificate, ServerConfig, WallTime,
};

use crate::dtls::Wire;
use crate::feed::Feed;

const ROOT: &[u8] = include_bytes!("certificates/root.pem");
const SERVER: [&[u8]; 2] =
    [include_bytes!("certificates/server.pem"), include_bytes!("certificates/server.key")];
const CLIENT: [&[u8]; 2] =
    [include_bytes!("certificates/client.pem"), include_bytes!("certificates/client.key")];
const STRANGER: [&[u8]; 2] =
    [include_bytes!("certificates/stranger.pem"), include_bytes!("certificates/stranger.key")];
const NAME: &str = "coap.test.example";
const DAY: u64 = 86_400;

/// What is wrong with one of the two, so that they must not connect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// The server has another name than the client asked for.
    Name,
    /// Nobody whom the server trusts vouches for the client.
    Stranger,
    /// The certificates are not valid any more.
    Late,
}

/// From the first ClientHello on. It may fail; it never panics, nobody gets in who must not, and what is not known about the time is
/// said. Also reads a chain and a list of roots from the bytes.
pub(crate) fn certificates(data: &[u8]) -> bool {
    let mut feed = Feed::new(data);
    let (head, what) = (feed.byte(), feed.byte());
    if what & 0x80 != 0 {
        let pem = feed.chunk();
        let _refused = Roots::from_pem(pem);
        let _refused = Identity::from_pem(pem, CLIENT[1]);
        let _refused = Identity::from_pem(CLIENT[0], pem);
    }
    let wrong = [Wrong::Nothing, Wrong::Name, Wrong::Stranger, Wrong::Late][usize::from(what % 4)];
    let trusted = what & 0x10 == 0;
    let Some(mut wire) = wire(head, wrong, trusted) else { return false };
    while let Some(act) = feed.next() {
        wire.act(act, &mut feed);
    }
    wire.nobody_received_anything();
    let connection = wire.client.connection();
    // Only the server sees that the client is a stranger, and a client that does not know the time cannot see that it is late.
    let client_minds = matches!((wrong, trusted), (Wrong::Name, _) | (Wrong::Late, true));
    assert!(!(client_minds && connection.is_some()), "the client let a wrong server in");
    assert!(wrong == Wrong::Nothing || wire.session.is_none(), "the server let a wrong client in");
    assert!(
        connection.is_none_or(|it| it.time_unverified != trusted),
        "what is known of the time is not said"
    );
    wire.session.is_some()
}

/// `None` only where the library could not be set up at all.
fn wire(head: u8, wrong: Wrong, trusted: bool) -> Option<Wire> {
    let roots = Roots::from_pem(ROOT).ok()?;
    let identity = |[chain, key]: [&[u8]; 2]| Identity::from_pem(chain, key).ok();
    let own = identity(if wrong == Wrong::Stranger { STRANGER } else { CLIENT })?;
    let (from, until) = own.validity();
    let unix_s = if wrong == Wrong::Late { until + DAY } else { from + DAY };
    let name = if wrong == Wrong::Name { "coap.other.example" } else { NAME };

    let mut client = ClientConfig::with_certificate(own, roots.clone(), name);
    client.suites = vec![CipherSuite::CERTIFICATE[usize::from(head % 3)]];
    client.connection_id = head & 0x80 != 0;
    let mut server = ServerConfig::new(|_| None::<PskKey>);
    server.certificate = Some(ServerCertificate { identity: identity(SERVER)?, client_roots: Some(roots) });
    let mut wire = Wire::between(&client, server)?;
    // The server always knows the time.
    wire.server.set_wall_clock(Duration::ZERO, Some(WallTime { unix_s, trusted: true }));
    wire.client.set_wall_clock(Duration::ZERO, Some(WallTime { unix_s, trusted }));
    wire.drain();
    Some(wire)
}
