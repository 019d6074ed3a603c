//! A proxy that cuts connections where a test wants it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// What happens to the connection whose client sends certain bytes.
#[derive(Debug, Clone)]
pub enum Cut {
    /// They do not arrive, and the connection is cut.
    Before(Vec<u8>),
    /// They arrive, and the connection is cut once the server has answered; the answer does not arrive.
    After(Vec<u8>),
}

/// A proxy to a port of the loopback. It forwards for as long as the process lives.
pub struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cut: Option<Cut>,
    /// How often the bytes are let through before.
    spared: usize,
    cuts: usize,
    open: Vec<TcpStream>,
}

fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// A proxy to `port`.
    ///
    /// # Panics
    /// No port is free.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0));
        let Ok((listener, address)) = listener.and_then(|l| l.local_addr().map(|address| (l, address))) else {
            panic!("no port is free")
        };
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let _ = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
                forward(client, server, &shared);
            }
        });
        Self { port: address.port(), state }
    }

    /// The proxy's own port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Plans a cut: of the first connection that sends the bytes, once.
    pub fn plan(&self, cut: Cut) {
        self.plan_nth(0, cut);
    }

    /// The same when the bytes have been let through `spared` times.
    pub fn plan_nth(&self, spared: usize, cut: Cut) {
        let mut state = locked(&self.state);
        state.cut = Some(cut);
        state.spared = spared;
    }

    /// How many planned cuts have happened.
    pub fn cuts(&self) -> usize {
        locked(&self.state).cuts
    }

    /// Cuts all connections now.
    pub fn cut_all(&self) {
        for stream in locked(&self.state).open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn forward(client: TcpStream, server: TcpStream, state: &Arc<Mutex<State>>) {
    let (Ok(mut from_client), Ok(mut to_client), Ok(mut from_server), Ok(mut to_server)) =
        (client.try_clone(), client.try_clone(), server.try_clone(), server.try_clone())
    else {
        return;
    };
    locked(state).open.extend([client, server]);
    let muted = Arc::new(Mutex::new(false));
    let (down_muted, down_state, state) = (muted.clone(), state.clone(), state.clone());
    std::thread::spawn(move || {
        let mut buffer = vec![0u8; 64 << 10];
        while let Ok(count @ 1..) = from_server.read(&mut buffer) {
            if *down_muted.lock().unwrap_or_else(PoisonError::into_inner) {
                // The answer: it has happened, and nobody is told.
                locked(&down_state).cuts += 1;
                break;
            }
            if to_client.write_all(buffer.get(..count).unwrap_or_default()).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
        let _ = from_server.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || {
        let mut buffer = vec![0u8; 64 << 10];
        while let Ok(count @ 1..) = from_client.read(&mut buffer) {
            let bytes = buffer.get(..count).unwrap_or_default();
            let cut = {
                let mut state = locked(&state);
                let here = state.cut.as_ref().is_some_and(|cut| {
                    let (Cut::Before(wanted) | Cut::After(wanted)) = cut;
                    bytes.windows(wanted.len().max(1)).any(|window| window == wanted.as_slice())
                });
                match (here, state.spared) {
                    (true, 0) => state.cut.take(),
                    (true, _) => {
                        state.spared -= 1;
                        None
                    }
                    (false, _) => None,
                }
            };
            match cut {
                Some(Cut::Before(_)) => {
                    locked(&state).cuts += 1;
                    break;
                }
                Some(Cut::After(_)) => *muted.lock().unwrap_or_else(PoisonError::into_inner) = true,
                None => {}
            }
            if to_server.write_all(bytes).is_err() {
                break;
            }
        }
        let _ = from_client.shutdown(Shutdown::Both);
        let _ = to_server.shutdown(Shutdown::Both);
    });
}
