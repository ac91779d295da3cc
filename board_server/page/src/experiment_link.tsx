/** An experiment's number, which leads to its page. */

import { runAddress } from "./app";
import type { Experiment, Run } from "./run_state";

export const experimentAddress = (run: Run, { own, run: of }: Experiment) =>
  runAddress(of ?? run.id, "experiments", String(own));

/** What an experiment is called where its run need not be said, or else is. */
export const nameOf = ({ own, run }: Experiment) => (run === null ? `${own}` : `${own} of ${run}`);

/** `full`: with its run where there are several, and its fold. */
export function ExperimentLink({ run, of, full }: { run: Run; of: Experiment; full?: boolean }) {
  const { fold, own, refit } = of;
  return (
    <>
      <a href={experimentAddress(run, of)}>{own}</a>
      {full && <small>{refit ? " refit" : fold === null ? "" : ` fold ${fold}`}</small>}
      {full && of.run && (
        <div>
          <small>{of.run}</small>
        </div>
      )}
    </>
  );
}
