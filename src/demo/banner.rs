//! What `gateway demo` says when it is up: where everything is, and lines to paste. The lines are cases of the [`script`](super::script),
//! so that what is shown here is what `--once` checks.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;

use super::paint::Paint;
use super::script::case::Addresses;
use super::script::{Wallet, chapters};
use super::tokens::{ADA, BOB, EVE, LIFETIME};
use super::world::World;

/// The whole text.
///
/// # Errors
/// A token could not be signed.
pub fn banner(gateway: SocketAddr, admin: SocketAddr, world: &World, paint: Paint) -> io::Result<String> {
    let provider = &world.identity_provider;
    let addresses = Addresses {
        gateway,
        admin,
        identity_provider: provider.server.address,
    };
    let mut text = format!(
        "\n{}\n\n  gateway            http://{gateway}\n  for operators      http://{admin}  (/livez /readyz /metrics /status.json)\n  \
         identity provider  {}  (/.well-known/jwks.json /token /api/v1/keys)\n",
        paint.strong("The gateway is up. Everything below is real: paste any line into another terminal."),
        provider.issuer,
    );
    let mut line = |line: String| writeln!(text, "{line}").map_err(io::Error::other);
    for person in [ADA, BOB, EVE] {
        line(format!(
            "  {:<18} password {}, role {}",
            person.name, person.password, person.role
        ))?;
    }
    line(format!(
        "\n  Tokens below last {} days; the services, and with them the keys, end with Ctrl-C.",
        LIFETIME / 86_400
    ))?;
    for chapter in chapters(world, &Wallet::of(world)?)? {
        line(format!("\n{}", paint.strong(chapter.title)))?;
        for case in chapter.cases.iter().filter(|case| case.tour) {
            line(format!(
                "\n  {}\n{}",
                paint.faint(&format!("# {}", case.shows)),
                case.curl(&addresses)
            ))?;
        }
    }
    line(format!(
        "\n{}\n\n  {}\ncurl -s {}/api/v1/keys -H 'Authorization: Bearer {}' -d '{{\"user_id\":\"svc_ci\",\"scopes\":[\"model:read\"]}}'",
        paint.strong("The provider's API keys"),
        paint.faint("# makes one, for its administrator"),
        provider.issuer,
        provider.admin_token,
    ))?;
    line(format!(
        "\n{}\n",
        paint.strong("Ctrl-C ends it. `gateway demo --once` runs all of this by itself, and more.")
    ))?;
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shows_a_line_to_paste_for_every_auth_method() {
        let world = World::start().await.unwrap();
        let (gateway, admin) = (world.upstreams.echo.address, world.upstreams.chat.address);
        let text = banner(gateway, admin, &world, Paint::Plain).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with("curl ")).collect();
        for (route, credential) in [
            ("/public/hello", String::new()),
            ("/account/me", "Authorization: Bearer ey".to_owned()),
            ("/jobs/7", format!("X-API-Key: {}", world.api_key)),
            ("/v1/models", format!("Authorization: Bearer {}", world.api_key)),
            ("/mlflow/", format!("-u mlflow:{}", world.api_key)),
            ("/internal/", format!("X-Internal-Auth: {}", world.internal_secret)),
            ("/api/v1/chat/", "Authorization: Bearer ey".to_owned()),
        ] {
            let url = format!("http://{gateway}{route}");
            let shown = lines
                .iter()
                .any(|line| line.contains(&url) && line.contains(&credential));
            assert!(shown, "no line for {route} with {credential} in\n{text}");
        }
        assert!(!text.contains('\x1b'), "no colour unless it is asked for");
    }
}
