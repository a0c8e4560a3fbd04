//! Every ID token that must not be believed, in both places that take one.

use auth_core::{
    ports::UserStore,
    types::{AccountKey, Email},
};
use auth_tests::{
    StoreKind, forge,
    provider::{
        CLIENT_ID, public_key, signed, signed_by_a_stranger, signed_by_curve, signed_by_curve_as,
        signed_otherwise, signed_text,
    },
};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{World, claims, hosted};

auth_tests::on_each_store! {
    a_token_that_is_not_to_be_believed_logs_nobody_in
    a_token_that_is_not_to_be_believed_links_nothing
    a_token_is_believed_within_its_bounds
    a_key_on_a_curve_signs_as_well
    a_name_of_several_keys_is_that_of_each
}

type Make = fn(&Value, &Value) -> String;

fn unsigned(header: &Value, claims: &Value, algorithm: &str) -> String {
    forge::message(&forge::set(header, "alg", algorithm), claims)
}

fn claim(header: &Value, claims: &Value, name: &str, value: impl Into<Value>) -> String {
    signed(header, &forge::set(claims, name, value))
}

fn moved(claims: &Value, name: &str, by: i64) -> i64 {
    claims[name].as_i64().unwrap() + by
}

#[allow(clippy::too_many_lines)] // one table
fn bad() -> Vec<(&'static str, Make)> {
    vec![
        ("nothing", |_, _| String::new()),
        ("a word", |_, _| "token".to_owned()),
        ("dots", |_, _| ".".repeat(1000)),
        ("too long", |h, c| claim(h, c, "x", "x".repeat(20_000))),
        ("a signature of nobody", |h, c| {
            format!("{}.{}", forge::message(h, c), "A".repeat(342))
        }),
        ("no signature", |h, c| format!("{}.", forge::message(h, c))),
        ("a key that is not shown", |h, c| signed_by_a_stranger(h, c)),
        ("changed claims", |h, c| {
            forge::with_claims(&signed(h, c), &forge::set(c, "sub", "victim"))
        }),
        ("alg none", |h, c| format!("{}.", unsigned(h, c, "none"))),
        ("alg None, signed", |h, c| {
            let good = signed(h, c);
            let signature = good.rsplit('.').next().unwrap().to_owned();
            format!("{}.{signature}", unsigned(h, c, "None"))
        }),
        ("HS256 with the public key", |h, c| {
            forge::signed(&forge::set(h, "alg", "HS256"), c, public_key())
        }),
        ("HS256 with the client's id", |h, c| {
            forge::signed(&forge::set(h, "alg", "HS256"), c, CLIENT_ID)
        }),
        ("HS512 with the public key", |h, c| {
            let header = forge::set(h, "alg", "HS512");
            forge::signed_with(Algorithm::HS512, &header, c, public_key())
        }),
        // By the right key, and what the header says: the key is for another algorithm.
        ("RS512", |h, c| signed_otherwise("RS512", h, c)),
        ("PS256", |h, c| signed_otherwise("PS256", h, c)),
        ("a key on a curve that is not shown", |h, c| {
            signed_by_curve(h, c)
        }),
        ("an access token", |h, c| {
            signed(&forge::set(h, "typ", "at+jwt"), c)
        }),
        ("a logout token by its type", |h, c| {
            signed(&forge::set(h, "typ", "logout+jwt"), c)
        }),
        ("a logout token by its events", |h, c| {
            let event = "http://schemas.openid.net/event/backchannel-logout";
            claim(h, c, "events", json!({event: {}}))
        }),
        ("an unknown kid", |h, c| {
            signed(&forge::set(h, "kid", "../../dev/null"), c)
        }),
        ("a kid of an unusable key", |h, c| {
            signed(&forge::set(h, "kid", "key-0"), c)
        }),
        ("its own key", |h, c| {
            let jwk = json!({"kty": "oct", "k": "c2VjcmV0", "kid": "own"});
            let header = forge::set(&forge::set(h, "jwk", jwk), "kid", "own");
            signed_by_a_stranger(&header, c)
        }),
        ("crit", |h, c| {
            signed(&forge::set(h, "crit", json!(["exp"])), c)
        }),
        ("another issuer", |h, c| {
            claim(h, c, "iss", "https://accounts.google.com")
        }),
        ("the issuer with a slash", |h, c| {
            let issuer = format!("{}/", c["iss"].as_str().unwrap());
            claim(h, c, "iss", issuer)
        }),
        ("no issuer", |h, c| signed(h, &forge::without(c, "iss"))),
        ("another audience", |h, c| claim(h, c, "aud", "other")),
        ("another audience, too", |h, c| {
            claim(h, c, "aud", json!([CLIENT_ID, "other"]))
        }),
        ("no audience", |h, c| signed(h, &forge::without(c, "aud"))),
        ("an empty audience", |h, c| claim(h, c, "aud", json!([]))),
        ("another party", |h, c| claim(h, c, "azp", "other")),
        ("expired", |h, c| {
            let past = forge::set(c, "exp", moved(c, "iat", -1));
            signed(h, &past)
        }),
        ("expires now", |h, c| claim(h, c, "exp", moved(c, "iat", 0))),
        ("no expiry", |h, c| signed(h, &forge::without(c, "exp"))),
        ("expiry as a string", |h, c| {
            claim(h, c, "exp", "9999999999")
        }),
        ("expiry without end", |h, c| claim(h, c, "exp", i64::MAX)),
        ("of the future", |h, c| {
            claim(h, c, "iat", moved(c, "iat", 60))
        }),
        ("not yet valid", |h, c| {
            claim(h, c, "nbf", moved(c, "iat", 60))
        }),
        ("no time", |h, c| signed(h, &forge::without(c, "iat"))),
        ("no subject", |h, c| signed(h, &forge::without(c, "sub"))),
        ("an empty subject", |h, c| claim(h, c, "sub", "")),
        ("a number as subject", |h, c| claim(h, c, "sub", 7)),
        ("a long subject", |h, c| claim(h, c, "sub", "1".repeat(256))),
        ("a subject with a zero", |h, c| claim(h, c, "sub", "a\0b")),
        // Whoever takes the last one finds nothing wrong. A claim that the JWT crate does not look at: of its own it refuses any that is there twice.
        ("the party twice", |h, c| {
            let twice = r#"{"azp":"other","#;
            signed_text(h, &c.to_string().replacen('{', twice, 1))
        }),
    ]
}

async fn a_token_that_is_not_to_be_believed_logs_nobody_in(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    let state = world.app.state_of(&ada).await;
    let mut bad = bad();
    bad.extend::<[(&'static str, Make); 3]>([
        ("another nonce", |h, c| claim(h, c, "nonce", "other")),
        ("an empty nonce", |h, c| claim(h, c, "nonce", "")),
        ("no nonce", |h, c| signed(h, &forge::without(c, "nonce"))),
    ]);
    for (name, make) in bad {
        world
            .google
            .forge(move |header, claims| make(&header, &claims));
        for who in [claims("eve"), hosted("ada")] {
            let answer = world.sign_in(who).await;
            answer.refused(400, "provider_error");
            let cookie = answer.header("set-cookie");
            assert!(cookie.starts_with("__Host-oauth=; "), "{name}: {cookie}");
        }
    }
    assert_eq!(world.app.state_of(&ada).await, state);
    let key = AccountKey::Email(Email::parse("eve@example.org").unwrap());
    assert!(world.app.store.account(&key).await.unwrap().is_none());
    world.google.repent();
    world.sign_in(claims("eve")).await.ok(200);
}

async fn a_token_that_is_not_to_be_believed_links_nothing(store: StoreKind) {
    let world = World::on(store).await;
    let ada = world.app.verified("ada").await;
    world.sign_in(claims("warm")).await.ok(200);
    let state = world.app.state_of(&ada).await;
    let mut bad = bad();
    bad.push(("of an hour ago", |h, c| {
        let old = forge::set(c, "iat", moved(c, "iat", -600));
        signed(h, &old)
    }));
    for (name, make) in bad {
        let (header, claims) = world.google.right(&claims("ada"));
        let body = json!({"password": ada.password, "id_token": make(&header, &claims)});
        let answer = world.app.post("/auth/link/google", body).by(&ada).await;
        answer.refused(400, "invalid_token");
        assert_eq!(world.app.state_of(&ada).await, state, "{name}");
    }
    // One for another provider, by the same key.
    let token = world.acme.id_token(&claims("ada"));
    let body = json!({"password": ada.password, "id_token": token});
    let answer = world.app.post("/auth/link/google", body).by(&ada).await;
    answer.refused(400, "invalid_token");
}

async fn a_token_is_believed_within_its_bounds(store: StoreKind) {
    let world = World::on(store).await;
    let good: [(&str, Make); 7] = [
        ("an audience as a list", |h, c| {
            claim(h, c, "aud", json!([CLIENT_ID]))
        }),
        ("no party", |h, c| signed(h, &forge::without(c, "azp"))),
        ("no kid where there is one key that it could be", |h, c| {
            signed(&forge::without(h, "kid"), c)
        }),
        ("a clock a little ahead", |h, c| {
            claim(h, c, "iat", moved(c, "iat", 20))
        }),
        ("no type", |h, c| signed(&forge::without(h, "typ"), c)),
        ("a type in small letters", |h, c| {
            signed(&forge::set(h, "typ", "jwt"), c)
        }),
        ("what nobody asked for", |h, c| {
            claim(h, c, "groups", json!([{"a": null}]))
        }),
    ];
    for (name, make) in good {
        world
            .google
            .forge(move |header, claims| make(&header, &claims));
        let answer = world.sign_in(claims("ada")).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
    }
}

async fn a_key_on_a_curve_signs_as_well(store: StoreKind) {
    let world = World::on(store).await;
    world.google.show_curve();
    world
        .google
        .forge(|header, claims| signed_by_curve(&header, &claims));
    world.sign_in(claims("ada")).await.ok(200);
    // By the other key, under the name of this one.
    world.google.forge(|header, claims| {
        let header = forge::header(&signed_by_curve(&header, &claims));
        signed(&forge::set(&header, "alg", "RS256"), &claims)
    });
    let answer = world.sign_in(claims("ada")).await;
    answer.refused(400, "provider_error");
    world.google.forge(|header, claims| {
        let good = signed_by_curve(&header, &claims);
        forge::with_claims(&good, &forge::set(&claims, "sub", "victim"))
    });
    let answer = world.sign_in(claims("ada")).await;
    answer.refused(400, "provider_error");
}

async fn a_name_of_several_keys_is_that_of_each(store: StoreKind) {
    let world = World::on(store).await;
    world.google.name_others_alike();
    let all: [Make; 3] = [signed, signed_by_a_stranger, |h, c| {
        signed_by_curve_as(h["kid"].as_str().unwrap(), h, c)
    }];
    for sign in all {
        world
            .google
            .forge(move |header, claims| sign(&header, &claims));
        world.sign_in(claims("ada")).await.ok(200);
        world.google.forge(move |header, claims| {
            let good = sign(&header, &claims);
            forge::with_claims(&good, &forge::set(&claims, "sub", "victim"))
        });
        let answer = world.sign_in(claims("ada")).await;
        answer.refused(400, "provider_error");
    }
    // None of them is for these.
    for algorithm in ["RS512", "PS256"] {
        world
            .google
            .forge(move |header, claims| signed_otherwise(algorithm, &header, &claims));
        let answer = world.sign_in(claims("ada")).await;
        answer.refused(400, "provider_error");
    }
}
