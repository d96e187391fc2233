// oidc-provider as an external identity provider: client credentials for one resource, as JWT or opaque tokens.
// The client `desk` proves itself with a key, and may exchange what it asserts of its callers for tokens (RFC 8693).
import { generateKeyPairSync } from "node:crypto";
import { createLocalJWKSet, jwtVerify } from "jose";
import Provider, { errors } from "oidc-provider";

const { ISSUER, PORT, RESOURCE, FORMAT, DESK_KEYS } = process.env;
const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const resourceServer = (indicator) => ({
  audience: indicator,
  scope: "tickets:read tickets:write",
  accessTokenFormat: FORMAT,
  accessTokenTTL: 300,
  jwt: { sign: { alg: "ES256" } },
});
const key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" });
const client = { redirect_uris: [], response_types: [], token_endpoint_auth_method: "client_secret_basic", id_token_signed_response_alg: "ES256" };
const provider = new Provider(ISSUER, {
  jwks: { keys: [{ ...key, kid: "signing", use: "sig", alg: "ES256" }] },
  clients: [
    { ...client, client_id: "robot", client_secret: "robot-secret", grant_types: ["client_credentials"] },
    ...(DESK_KEYS ? [{
      ...client, client_id: "desk", token_endpoint_auth_method: "private_key_jwt", token_endpoint_auth_signing_alg: "ES256",
      jwks: JSON.parse(DESK_KEYS), grant_types: ["client_credentials", EXCHANGE],
    }] : []),
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
      getResourceServerInfo: async (ctx, indicator) => resourceServer(indicator),
    },
  },
});
provider.registerGrantType(EXCHANGE, async (ctx) => {
  const { params, client: asking } = ctx.oidc;
  const { payload } = await jwtVerify(params.subject_token, createLocalJWKSet(asking.jwks), { issuer: asking.clientId, audience: ISSUER });
  if (payload.sub === "mallory") throw new errors.InvalidGrant("not this one");
  const token = new provider.AccessToken({ accountId: `${payload.tenant}/${payload.sub}`, client: asking, gty: "token_exchange", scope: params.scope });
  token.resourceServer = new provider.ResourceServer(params.resource, resourceServer(params.resource));
  const value = await token.save();
  ctx.body = { access_token: value, issued_token_type: "urn:ietf:params:oauth:token-type:access_token", token_type: "Bearer", expires_in: token.expiration, scope: params.scope };
}, ["subject_token", "subject_token_type", "requested_token_type", "resource", "audience", "scope"]);
provider.listen(Number(PORT), "127.0.0.1", () => console.log("ready"));
