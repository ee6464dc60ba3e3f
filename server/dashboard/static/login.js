// A login link carries its secret behind the #, which browsers send to nobody: it is handed in by a form.

const once = new URLSearchParams(location.hash.slice(1)).get("once");
if (once) {
  history.replaceState(null, "", location.pathname);
  const form = document.querySelector("form");
  const field = document.createElement("input");
  field.type = "hidden";
  field.name = "once";
  field.value = once;
  form.append(field);
  form.submit();
}
