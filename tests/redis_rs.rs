//! The Rust client `redis` against the server, by its normal API: synchronous and asynchronous, RESP2 and RESP3,
//! pipelines, transactions, every type that there is.

mod common;

use common::Server;
use redis::{AsyncCommands, Commands, ErrorKind, RedisResult, ServerErrorKind, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Runs a test's calls on a new server in one protocol after the other.
fn in_both_protocols(calls: impl Fn(&mut redis::Connection) -> RedisResult<()>) {
    for protocol in ["resp2", "resp3"] {
        let server = Server::start(&[]);
        let client = redis::Client::open(format!("redis://{}/?protocol={protocol}", server.address)).unwrap();
        calls(&mut client.get_connection().unwrap()).unwrap_or_else(|e| panic!("{protocol}: {e}"));
    }
}

#[test]
fn strings_and_keys() {
    in_both_protocols(|c| {
        let () = c.set("s", "value")?;
        assert_eq!(c.get::<_, String>("s")?, "value");
        assert_eq!(c.get::<_, Option<String>>("none")?, None);
        let () = c.mset(&[("a", 1), ("b", 2)])?;
        assert_eq!(c.mget::<_, Vec<Option<i64>>>(&["a", "none", "b"])?, [Some(1), None, Some(2)]);
        assert_eq!(c.incr::<_, _, i64>("a", 41)?, 42);
        assert_eq!(c.append::<_, _, usize>("s", "!")?, 6);
        let blob: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
        let () = c.set("blob", &blob)?;
        assert!(c.get::<_, Vec<u8>>("blob")? == blob);
        let () = c.set_ex("t", 1, 100)?;
        assert!((99..=100).contains(&c.ttl::<_, i64>("t")?));
        assert!(c.persist::<_, bool>("t")? && !c.expire::<_, bool>("none", 5)?);
        assert_eq!(c.del::<_, usize>(&["a", "b", "none"])?, 2);
        let names: BTreeSet<String> = c.scan::<String>()?.collect::<RedisResult<_>>()?;
        assert_eq!(names, ["blob", "s", "t"].map(String::from).into());
        Ok(())
    });
}

#[test]
fn collections() {
    in_both_protocols(|c| {
        assert_eq!(c.rpush::<_, _, usize>("l", &["a", "b", "c"])?, 3);
        assert_eq!(c.lrange::<_, Vec<String>>("l", 0, -1)?, ["a", "b", "c"]);
        assert_eq!(c.lpop::<_, Option<String>>("l", None)?.as_deref(), Some("a"));
        assert_eq!(c.blpop::<_, (String, String)>("l", 1.0)?, ("l".into(), "b".into()));
        assert_eq!(c.blpop::<_, Option<(String, String)>>("none", 0.01)?, None);
        let () = c.hset_multiple("h", &[("f", 1), ("g", 2)])?;
        assert_eq!(c.hgetall::<_, BTreeMap<String, i64>>("h")?, BTreeMap::from([("f".into(), 1), ("g".into(), 2)]));
        assert_eq!(c.hincr::<_, _, _, i64>("h", "f", 5)?, 6);
        assert_eq!(c.sadd::<_, _, usize>("s", &["x", "y"])?, 2);
        assert_eq!(c.smembers::<_, BTreeSet<String>>("s")?, ["x", "y"].map(String::from).into());
        assert!(c.sismember::<_, _, bool>("s", "x")? && !c.sismember::<_, _, bool>("s", "z")?);
        assert_eq!(c.zadd_multiple::<_, _, _, usize>("z", &[(1.5, "a"), (2.0, "b")])?, 2);
        assert_eq!(c.zscore::<_, _, f64>("z", "a")?, 1.5);
        let ranked: Vec<(String, f64)> = c.zrange_withscores("z", 0, -1)?;
        assert_eq!(ranked, [("a".into(), 1.5), ("b".into(), 2.0)]);
        assert!(!c.setbit::<_, bool>("bits", 7, true)? && c.getbit::<_, bool>("bits", 7)?);
        assert_eq!(c.bitcount::<_, usize>("bits")?, 1);
        assert!(c.pfadd::<_, _, bool>("p", &["a", "b"])?);
        assert_eq!(c.pfcount::<_, usize>("p")?, 2);
        Ok(())
    });
}

#[test]
fn pipelines_transactions_and_errors() {
    in_both_protocols(|c| {
        let mut pipeline = redis::pipe();
        (0..5000).for_each(|i| {
            pipeline.set(format!("p:{i}"), i).ignore();
        });
        let (last,): (i64,) = pipeline.get("p:4999").query(c)?;
        assert_eq!(last, 4999);
        let (one, two): (i64, i64) = redis::pipe().atomic().incr("n", 1).incr("n", 1).query(c)?;
        assert_eq!((one, two), (1, 2));
        // WATCH, and again when another connection was faster.
        let (sum,): (i64,) = redis::transaction(c, &["n"], |c, pipeline| {
            let n: i64 = c.get("n")?;
            pipeline.set("n", n + 40).ignore().get("n").query(c)
        })?;
        assert_eq!(sum, 42);
        let error = c.lpush::<_, _, Value>("n", "x").unwrap_err();
        assert_eq!(error.code(), Some("WRONGTYPE"));
        let error = redis::cmd("NOSUCH").query::<Value>(c).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::ResponseError));
        Ok(())
    });
}

#[test]
fn asynchronous_calls_share_one_connection() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for protocol in ["resp2", "resp3"] {
        let server = Server::start(&[]);
        let client = redis::Client::open(format!("redis://{}/?protocol={protocol}", server.address)).unwrap();
        runtime.block_on(async {
            let connection = client.get_multiplexed_async_connection().await.unwrap();
            let tasks: Vec<_> = (0..200)
                .map(|i| {
                    let mut c = connection.clone();
                    tokio::spawn(async move {
                        let () = c.set(format!("k:{i}"), i).await?;
                        let back: i64 = c.get(format!("k:{i}")).await?;
                        let _: i64 = c.incr("counter", back).await?;
                        RedisResult::Ok(())
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap().unwrap();
            }
            let mut c = connection.clone();
            assert_eq!(c.get::<_, i64>("counter").await.unwrap(), (0..200).sum::<i64>());
            let (a, b): (i64, i64) = redis::pipe()
                .atomic()
                .set("a", 1)
                .ignore()
                .incr("a", 1)
                .incr("a", 1)
                .query_async(&mut c)
                .await
                .unwrap();
            assert_eq!((a, b), (2, 3));
        });
    }
}

#[test]
fn messages_and_invalidations_come_as_pushes() {
    let server = Server::start(&[]);
    let client = redis::Client::open(format!("redis://{}/?protocol=resp2", server.address)).unwrap();
    let (mut listening, mut c) = (client.get_connection().unwrap(), client.get_connection().unwrap());
    let mut listener = listening.as_pubsub();
    listener.subscribe("news").unwrap();
    listener.psubscribe("n*").unwrap();
    assert_eq!(c.publish::<_, _, i64>("news", "hello").unwrap(), 2);
    let (first, second) = (listener.get_message().unwrap(), listener.get_message().unwrap());
    assert_eq!((first.get_channel_name(), first.get_payload::<String>().unwrap().as_str()), ("news", "hello"));
    assert_eq!(second.get_pattern::<String>().unwrap(), "n*");
    // RESP3: beside ordinary commands, on one connection.
    let client = redis::Client::open(format!("redis://{}/?protocol=resp3", server.address)).unwrap();
    let (mut caching, (send, receive)) = (client.get_connection().unwrap(), std::sync::mpsc::channel());
    caching.set_push_sender(send);
    redis::cmd("CLIENT").arg("TRACKING").arg("ON").exec(&mut caching).unwrap();
    assert_eq!(caching.get::<_, Option<String>>("k").unwrap(), None);
    let () = c.set("k", 1).unwrap();
    assert_eq!(redis::cmd("PING").query::<String>(&mut caching).unwrap(), "PONG");
    let push = receive.try_iter().find(|push| push.kind == redis::PushKind::Invalidate).expect("an invalidation");
    assert_eq!(push.data, [Value::Array(vec![Value::BulkString(b"k".to_vec())])]);
}
