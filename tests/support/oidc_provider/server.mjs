// An OpenID Connect provider, as it is delivered by npm, with clients and people of the tests.
//
// node server.mjs PORT JWKS_FILE: signs with the first private key of the file. Prints "ready".

import { readFileSync } from "node:fs";

import Provider from "oidc-provider";

const [port, file] = process.argv.slice(2);
const { keys } = JSON.parse(readFileSync(file, "utf8"));
const resource = "https://nagaya.example";
const claims = { tenants: ["acme"] };

const provider = new Provider(`http://127.0.0.1:${port}`, {
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
  ],
  enabledJWA: { idTokenSigningAlgValues: ["RS256", "PS256", "ES256", "EdDSA"] },
  scopes: ["openid", "probe.use", "runs.read"],
  pkce: { required: () => true },
  extraTokenClaims: () => claims,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  ttl: { AccessToken: 300, ClientCredentials: 300 },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        audience: "nagaya",
        scope: "probe.use runs.read",
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: keys[0].alg, kid: keys[0].kid } },
      }),
    },
  },
});

provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
