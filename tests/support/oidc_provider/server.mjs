// An OpenID Connect provider, as it is delivered by npm, with clients and people of the tests.
//
// node server.mjs PORT JWKS_FILE [CERT_FILE KEY_FILE]: signs with the first private key of the
// file, and serves by TLS where it has a certificate. Prints "ready".

import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";

import Provider from "oidc-provider";

const [port, file, certFile, keyFile] = process.argv.slice(2);
const { keys } = JSON.parse(readFileSync(file, "utf8"));
const resource = "https://nagaya.example";
const scopes = [
  "*", "approvals.*", "artifacts.*", "audit.read", "calls.*", "catalog.read", "overrides.read",
  "pipelines.*", "probe.use", "prompts.*", "runs.*", "runs.read", "tenants.read",
];

/** ada@acme is of tenant acme, as are the program and people without one; the operator of all. */
function tenants(login) {
  if (login === "operator") return ["*"];
  return [login?.split("@")[1] ?? "acme"];
}

const provider = new Provider(`${certFile ? "https" : "http"}://127.0.0.1:${port}`, {
  jwks: { keys },
  cookies: { keys: ["for tests"] },
  clients: [
    {
      client_id: "robot",
      client_secret: "secret",
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
      id_token_signed_response_alg: keys[0].alg,
    },
    {
      client_id: "app",
      token_endpoint_auth_method: "none",
      grant_types: ["authorization_code"],
      redirect_uris: ["http://127.0.0.1/callback"],
      response_types: ["code"],
      application_type: "native",
      id_token_signed_response_alg: keys[0].alg,
    },
    {
      client_id: "nagaya",
      token_endpoint_auth_method: "none",
      grant_types: [
        "authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code",
      ],
      redirect_uris: ["http://127.0.0.1/callback"],
      response_types: ["code"],
      application_type: "native",
      id_token_signed_response_alg: keys[0].alg,
    },
  ],
  enabledJWA: { idTokenSigningAlgValues: ["RS256", "PS256", "ES256", "EdDSA"] },
  scopes: ["openid", "offline_access", ...scopes],
  pkce: { required: () => true },
  extraTokenClaims: (_, token) => ({ tenants: tenants(token.accountId) }),
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  formats: {
    customizers: {
      jwt(_, token, parts) {
        // The token of somebody who is called late has expired an hour ago.
        if (token.accountId?.startsWith("late")) parts.payload.exp = parts.payload.iat - 3600;
      },
    },
  },
  ttl: { AccessToken: 600, ClientCredentials: 600 },
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, asked) => ({
        audience: asked === resource ? "nagaya" : "billing",
        scope: scopes.join(" "),
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: keys[0].alg, kid: keys[0].kid } },
      }),
    },
  },
});

const tls = certFile && { cert: readFileSync(certFile), key: readFileSync(keyFile) };
const server = tls
  ? https.createServer(tls, provider.callback())
  : http.createServer(provider.callback());
server.listen(Number(port), "127.0.0.1", () => console.log("ready"));
