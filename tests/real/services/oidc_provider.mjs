// npm's `oidc-provider`: signs RS256 access tokens for RESOURCE. It has a service client and an application of its own, lets others
// register, and signs people in by its development forms: any name, any password. Lines to standard input: `rotate` signs with a new
// key from then on and publishes the old ones too, `retire` withdraws the old ones.

import { generateKeyPairSync, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const installed = createRequire(new URL("../../../target/real/node/package.json", import.meta.url));
const { Provider } = await import(pathToFileURL(installed.resolve("oidc-provider")));

const { RESOURCE, SCOPES = "api:read api:write", CLIENT_SECRET, REDIRECT_URI } = process.env;
const application = { client_id: "application", token_endpoint_auth_method: "none", redirect_uris: [REDIRECT_URI] };
const service = {
  client_id: "service",
  client_secret: CLIENT_SECRET,
  grant_types: ["client_credentials"],
  redirect_uris: [],
  response_types: [],
};

let keys = [signingKey()];
let answer;

function signingKey() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...privateKey.export({ format: "jwk" }), use: "sig", alg: "RS256", kid: randomBytes(8).toString("hex") };
}

function provide(issuer) {
  const provider = new Provider(issuer, {
    jwks: { keys },
    clients: REDIRECT_URI ? [service, application] : [service],
    cookies: { keys: [randomBytes(16).toString("hex")] },
    scopes: ["openid", "offline_access", ...SCOPES.split(" ")],
    pkce: { required: () => true },
    extraTokenClaims: (_context, token) => (token.accountId ? { email: `${token.accountId}@example.com` } : {}),
    features: {
      clientCredentials: { enabled: true },
      registration: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => RESOURCE,
        useGrantedResource: () => true,
        getResourceServerInfo: (_context, resource) => ({
          audience: resource,
          scope: SCOPES,
          accessTokenFormat: "jwt",
          accessTokenTTL: 600,
          jwt: { sign: { alg: "RS256" } },
        }),
      },
    },
  });
  answer = provider.callback();
}

const server = createServer((request, response) => answer(request, response));
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address();
  const issuer = `http://127.0.0.1:${port}`;
  provide(issuer);
  createInterface({ input: process.stdin }).on("line", (line) => {
    keys = line === "rotate" ? [signingKey(), ...keys] : keys.slice(0, 1);
    provide(issuer);
    console.log(`signs with ${keys[0].kid}`);
  });
  console.log(`signs with ${keys[0].kid}`);
  console.log(`listening on ${port}`);
});
