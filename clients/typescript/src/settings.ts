import { SettingsInvalid } from "./errors.js";

/** The services, by the names that settings have for them. */
export type ServiceName = "tenant" | "runs" | "artifacts" | "llmGateway";

/** A token, or what returns one: it is asked anew for every attempt at a call. */
export type Token = string | (() => string | Promise<string>);

/** What a client needs to know. */
export interface Settings {
  /**
   * Where the services are: one address for all of them, or one each. `host:port`, `http://…`, or
   * `https://…` for TLS.
   */
  readonly address: string | Partial<Record<ServiceName, string>>;
  readonly token: Token;
  /** How long one call may take; as its contract says when absent. Cuts no watch or download. */
  readonly timeoutMs?: number;
}

/** Return a service's URL. Throws SettingsInvalid when its address is missing or is none. */
export function urlOf(settings: Settings, service: ServiceName): string {
  const { address } = settings;
  const text = typeof address === "string" ? address : address[service];
  if (!text) {
    throw new SettingsInvalid(`the address of the service ${service} is not known`);
  }
  return parseAddress(text);
}

/** Return the URL of an address. Throws SettingsInvalid. */
export function parseAddress(text: string): string {
  const whole = text.includes("://") ? text : `http://${text}`;
  const url = URL.canParse(whole) ? new URL(whole) : undefined;
  const bare = url?.pathname === "/" && !url.search && !url.hash && !url.username && !url.password;
  if (!url || !bare || !["http:", "https:"].includes(url.protocol)) {
    throw new SettingsInvalid(
      `${JSON.stringify(text)} is no address of a server: write host:port, or https://host:port for TLS`,
    );
  }
  return url.origin;
}

/** Return the token as a caller sends it. Throws SettingsInvalid when it is none. */
export async function readToken(token: Token): Promise<string> {
  const text = (typeof token === "string" ? token : await token()).trim();
  // Anything else would break the header that carries it.
  if (!/^[\x21-\x7e]+$/.test(text)) {
    throw new SettingsInvalid(text ? "the token is not one line of ASCII" : "the token is empty");
  }
  return text;
}
