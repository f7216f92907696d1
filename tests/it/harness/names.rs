//! A DNS server that knows one name, whose address tests move.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::A;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// The server. Every name is at the one address, for a second.
pub struct Names {
    /// Where it is asked.
    pub address: SocketAddr,
    points_to: Arc<Mutex<Ipv4Addr>>,
    serving: JoinHandle<()>,
}

impl Names {
    /// Points to `first`.
    pub async fn start(first: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let points_to = Arc::new(Mutex::new(first));
        let current = points_to.clone();
        let serving = tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((count, from)) = socket.recv_from(&mut buffer).await {
                let question = Message::from_vec(&buffer[..count]).unwrap();
                let query = question.queries[0].clone();
                let mut answer = Message::response(question.metadata.id, OpCode::Query);
                answer.metadata.response_code = ResponseCode::NoError;
                answer.metadata.recursion_available = true;
                answer.add_query(query.clone());
                if query.query_type() == RecordType::A {
                    answer.add_answer(Record::from_rdata(
                        query.name().clone(),
                        1,
                        RData::A(A(*current.lock())),
                    ));
                }
                let _ = socket.send_to(&answer.to_vec().unwrap(), from).await;
            }
        });
        Self {
            address,
            points_to,
            serving,
        }
    }

    /// Points elsewhere from now on.
    pub fn move_to(&self, address: Ipv4Addr) {
        *self.points_to.lock() = address;
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
