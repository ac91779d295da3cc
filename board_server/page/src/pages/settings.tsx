/** What this browser prefers, and who it is to the server. */

import { useState } from "preact/hooks";
import { type Settings as Preferences, readSession, session, settings, store } from "../app";
import { Select, Slider, Toggle } from "../controls";
import { request } from "../wire";

/** Exchange a token for a cookie that scripts cannot read. */
export function SignIn({ Heading = "h1" }: { Heading?: "h1" | "h2" }) {
  const [problem, setProblem] = useState("");
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const token = String(new FormData(form).get("token") ?? "");
    try {
      await request("session", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ token }),
      });
      form.reset();
      await readSession();
      location.reload(); // everything that was refused is asked for again
    } catch (error) {
      setProblem((error as Error).message);
    }
  };
  return (
    <form class="card signin" onSubmit={submit}>
      <Heading>Sign in</Heading>
      <p>This board asks for a token. It is sent once and kept in a cookie that scripts cannot read.</p>
      <div class="field">
        <label for="token">Token</label>
        <input
          id="token"
          name="token"
          type="password"
          autocomplete="current-password"
          required
          aria-invalid={problem !== ""}
        />
        {problem && (
          <p class="error" role="alert">
            {problem}
          </p>
        )}
      </div>
      <button type="submit" class="primary">
        Sign in
      </button>
    </form>
  );
}

export function SettingsPage() {
  const now = settings.value;
  const change = (more: Partial<Preferences>) => {
    settings.value = { ...now, ...more };
  };
  const access = session.value;
  const signOut = async () => {
    await request("session", { method: "DELETE" });
    store.value?.close();
    await readSession();
    location.reload();
  };
  return (
    <div class="page narrow">
      <h1>Settings</h1>
      <section class="card">
        <h2>Look</h2>
        <Select
          label="Theme"
          value={now.theme}
          options={[
            ["auto", "as the system"],
            ["light", "light"],
            ["dark", "dark"],
          ]}
          onChange={(theme) => change({ theme })}
        />
        <Toggle label="Compact spacing" value={now.dense} onChange={(dense) => change({ dense })} />
      </section>
      <section class="card">
        <h2>Charts of runs that are opened here</h2>
        <p>A link says its own smoothing and scales, so that it shows everybody the same.</p>
        <Slider
          label="Smoothing"
          value={now.smooth}
          max={0.99}
          step={0.01}
          onChange={(smooth) => change({ smooth })}
        />
        <Toggle label="Logarithmic y" value={now.logy} onChange={(logy) => change({ logy })} />
      </section>
      {access?.token_required && access.read ? (
        <section class="card">
          <h2>Access</h2>
          <p>Signed in; this browser may read{access.write ? " and write" : ""}.</p>
          <button type="button" onClick={signOut}>
            Sign out
          </button>
        </section>
      ) : access?.token_required ? (
        <SignIn Heading="h2" />
      ) : (
        <section class="card">
          <h2>Access</h2>
          <p>This board asks for no token{access ? "" : ", or cannot be reached now"}.</p>
        </section>
      )}
    </div>
  );
}
