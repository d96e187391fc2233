// oidc-provider as an external identity provider: client credentials for one resource, as JWT or opaque tokens.
import { generateKeyPairSync } from "node:crypto";
import Provider from "oidc-provider";

const { ISSUER, PORT, RESOURCE, FORMAT } = process.env;
const key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" });
const client = { redirect_uris: [], response_types: [], token_endpoint_auth_method: "client_secret_basic", id_token_signed_response_alg: "ES256" };
const provider = new Provider(ISSUER, {
  jwks: { keys: [{ ...key, kid: "signing", use: "sig", alg: "ES256" }] },
  clients: [
    { ...client, client_id: "robot", client_secret: "robot-secret", grant_types: ["client_credentials"] },
    { ...client, client_id: "gateway", client_secret: "gateway-secret", grant_types: ["client_credentials"] },
  ],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: async () => true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: async () => RESOURCE,
      getResourceServerInfo: async (ctx, indicator) => ({
        audience: indicator,
        scope: "tickets:read tickets:write",
        accessTokenFormat: FORMAT,
        accessTokenTTL: 300,
        jwt: { sign: { alg: "ES256" } },
      }),
    },
  },
});
provider.listen(Number(PORT), "127.0.0.1", () => console.log("ready"));
