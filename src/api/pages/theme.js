// Sets the colours before anything is painted: no module, so that it does not wait for them.
document.documentElement.dataset.theme = localStorage.getItem("diffused.theme") ?? "auto";
