// The certified provider, as Google: `node oidc-provider.mjs REDIRECT_URI`. Prints its issuer when it listens.
// Whoever logs in types a subject; the address is `SUBJECT@gmail.com`, and is not verified for a subject that begins with "unverified".
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.env.OIDC_PROVIDER}/`);
const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));

const server = createServer((request, response) => handle(request, response));
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const issuer = `http://127.0.0.1:${server.address().port}`;

const key = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });
const provider = new Provider(issuer, {
  clients: [{ client_id: "google-client", client_secret: "google-secret", redirect_uris: [process.argv[2]] }],
  jwks: { keys: [{ ...key, use: "sig", alg: "RS256", kid: "k1" }] },
  cookies: { keys: [randomBytes(16).toString("hex")] },
  pkce: { required: () => true },
  conformIdTokenClaims: false, // the address is in the ID token, as Google has it
  claims: { openid: ["sub"], email: ["email", "email_verified"] },
  features: { devInteractions: { enabled: true } },
  findAccount: async (_, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, email: `${id}@gmail.com`, email_verified: !id.startsWith("unverified") }),
  }),
});
const handle = provider.callback();
console.log(issuer);
