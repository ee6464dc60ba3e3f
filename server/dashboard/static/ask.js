// What the page asks of the server, and what it sends.

let csrf = "";
export let skew = 0; // milliseconds that the server's clock is ahead

export class Refused extends Error {}

async function answered(path, options = {}) {
  const response = await fetch(path, { credentials: "same-origin", ...options });
  if (response.status === 401) {
    location.assign("/login");
    throw new Refused("logged out");
  }
  if (!response.ok) {
    const told = await response.json().catch(() => ({}));
    throw new Refused(told.error || `the server answered ${response.status}`);
  }
  return response;
}

export async function ask(path) {
  const response = await answered(path);
  const date = Date.parse(response.headers.get("date"));
  if (!Number.isNaN(date)) skew = date + 500 - Date.now();
  return response.json();
}

export async function askBytes(path) {
  return (await answered(path)).arrayBuffer();
}

export async function send(path, content = {}) {
  const headers = { "content-type": "application/json", "x-csrf-token": csrf };
  const response = await answered(path, { method: "POST", headers, body: JSON.stringify(content) });
  return response.headers.get("content-type")?.startsWith("application/json") ? response.json() : null;
}

export async function me() {
  const told = await ask("/api/me");
  csrf = told.csrf;
  return told;
}
