// OpenSSL as node wraps it. Asked by one line of JSON, answers by lines of JSON; see mod.rs beside it.
import crypto from "node:crypto";
import readline from "node:readline";
import tls from "node:tls";

const say = (answer) => console.log(JSON.stringify(answer));
const bytes = (text) => Buffer.from(text, "base64");

// DER, as much as a certificate request needs (X.690, section 8).
const der = (tag, ...parts) => {
  const body = Buffer.concat(parts);
  const length = body.length < 128 ? [body.length] : [0x82, body.length >> 8, body.length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
};
const ML_DSA_87 = der(0x30, Buffer.from("0609608648016503040313", "hex"));

// PKCS #10 (RFC 2986) with an empty name and no attributes.
const request = ({ publicKey, privateKey }) => {
  const spki = publicKey.export({ type: "spki", format: "der" });
  const info = der(0x30, der(0x02, Buffer.from([0])), der(0x30), spki, der(0xa0));
  const signature = crypto.sign(null, info, privateKey);
  return der(0x30, info, ML_DSA_87, der(0x03, Buffer.from([0]), signature));
};

const settings = (ask) => ({
  cert: ask.certificate,
  key: ask.key,
  ca: ask.ca,
  ecdhCurve: ask.groups,
  sigalgs: ask.schemes,
  minVersion: "TLSv1.3",
  ALPNProtocols: [ask.alpn],
});

const met = (socket) => ({
  authorized: socket.authorized,
  why: String(socket.authorizationError ?? ""),
  names: socket.getPeerCertificate().subjectaltname ?? "",
  suite: socket.getCipher().standardName,
  protocol: socket.getProtocol(),
  alpn: socket.alpnProtocol,
  exported: socket.exportKeyingMaterial(48, "EXPORTER-dsmil-renew", Buffer.alloc(0)).toString("base64"),
});

const verbs = {
  version: () => say({ openssl: process.versions.openssl }),

  chain: ({ leaf, issuer, root }) => {
    const [l, i, r] = [leaf, issuer, root].map((pem) => new crypto.X509Certificate(pem));
    say({
      leaf: l.checkIssued(i) && l.verify(i.publicKey),
      issuer: i.checkIssued(r) && i.verify(r.publicKey),
      root: r.checkIssued(r) && r.verify(r.publicKey),
      crossed: l.verify(r.publicKey) || i.verify(i.publicKey),
      authorities: [l.ca, i.ca, r.ca],
      names: [l.subjectAltName, r.subjectAltName],
      usage: l.keyUsage,
      keys: [l, i, r].map((certificate) => certificate.publicKey.asymmetricKeyType),
    });
  },

  verify: ({ certificate, statement, signature }) => {
    const key = new crypto.X509Certificate(certificate).publicKey;
    say({ good: crypto.verify(null, bytes(statement), key, bytes(signature)) });
  },

  key: ({ statement }) => {
    const pair = crypto.generateKeyPairSync("ml-dsa-87");
    say({
      key: pair.privateKey.export({ type: "pkcs8", format: "pem" }),
      public: Buffer.from(pair.publicKey.export({ format: "jwk" }).pub, "base64url").toString("base64"),
      request: request(pair).toString("base64"),
      signature: crypto.sign(null, bytes(statement), pair.privateKey).toString("base64"),
    });
  },

  serve: (ask) => {
    const server = tls.createServer({ ...settings(ask), requestCert: true, rejectUnauthorized: true });
    server.on("secureConnection", (socket) => {
      say(met(socket));
      socket.on("error", (error) => say({ error: error.code }));
      socket.on("data", (data) => socket.end(`OpenSSL heard ${data}`));
    });
  server.on("tlsClientError", (error) => say({ error: error.code ?? error.message }));
    server.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
  },

  connect: (ask) => {
    const to = { host: "127.0.0.1", port: ask.port, servername: ask.name };
    const socket = tls.connect({ ...settings(ask), ...to }, () => socket.write("hello"));
    socket.on("data", (data) => {
      say({ ...met(socket), heard: String(data) });
      socket.end();
    });
    socket.on("error", (error) => say({ error: error.code ?? error.message }));
  },
};

readline.createInterface({ input: process.stdin }).once("line", (line) => {
  const ask = JSON.parse(line);
  verbs[ask.verb](ask);
});
