/** What a user can put right; its message is shown in the page as it is. */
export class UserError extends Error {}
