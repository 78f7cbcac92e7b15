// A Vulkan layer for wgrec's tests: asks the driver for statistics of every compute pipeline (registers, spills, memory) and
// appends them to the file $GPULAB_STATISTICS, "name=value" with tabs between, a line for each variant of a pipeline.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

// One instance and one device at a time: the tests open no more.
static PFN_vkGetInstanceProcAddr next_instance;
static PFN_vkGetDeviceProcAddr next_device;
static VkInstance instance;

#define INSTANCE(name) ((PFN_##name)next_instance(instance, #name))
#define DEVICE(device, name) ((PFN_##name)next_device(device, #name))

static VkResult create_instance(const VkInstanceCreateInfo *info, const VkAllocationCallbacks *a, VkInstance *out) {
  VkLayerInstanceCreateInfo *link = (void *)info->pNext;
  while (link && !(link->sType == VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO && link->function == VK_LAYER_LINK_INFO))
    link = (void *)link->pNext;
  if (!link) return VK_ERROR_INITIALIZATION_FAILED;
  next_instance = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;
  VkResult r = ((PFN_vkCreateInstance)next_instance(NULL, "vkCreateInstance"))(info, a, out);
  if (r == VK_SUCCESS) instance = *out;
  return r;
}

// Adds the extension that tells statistics.
static VkResult create_device(VkPhysicalDevice gpu, const VkDeviceCreateInfo *info, const VkAllocationCallbacks *a, VkDevice *out) {
  VkLayerDeviceCreateInfo *link = (void *)info->pNext;
  while (link && !(link->sType == VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO && link->function == VK_LAYER_LINK_INFO))
    link = (void *)link->pNext;
  if (!link) return VK_ERROR_INITIALIZATION_FAILED;
  next_device = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;

  VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR feature = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR, (void *)info->pNext, VK_TRUE};
  VkDeviceCreateInfo wanted = *info;
  const char **names = calloc(info->enabledExtensionCount + 1, sizeof *names);
  for (uint32_t i = 0; i < info->enabledExtensionCount; i++) names[i] = info->ppEnabledExtensionNames[i];
  names[wanted.enabledExtensionCount++] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
  wanted.ppEnabledExtensionNames = names;
  wanted.pNext = &feature;
  VkResult r = INSTANCE(vkCreateDevice)(gpu, &wanted, a, out);
  free(names);
  return r;
}

// NVK calls itself not conformant on GPUs that it was not tested on, and wgpu hides such devices.
static void properties2(VkPhysicalDevice gpu, VkPhysicalDeviceProperties2 *p) {
  INSTANCE(vkGetPhysicalDeviceProperties2)(gpu, p);
  for (VkBaseOutStructure *x = p->pNext; x; x = x->pNext) {
    VkConformanceVersion *v = NULL;
    if (x->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES)
      v = &((VkPhysicalDeviceDriverProperties *)x)->conformanceVersion;
    if (x->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES)
      v = &((VkPhysicalDeviceVulkan12Properties *)x)->conformanceVersion;
    if (v && !v->major) *v = (VkConformanceVersion){1, 3, 0, 0};
  }
}

static void write_statistics(FILE *to, VkDevice device, VkPipeline pipeline) {
  VkPipelineInfoKHR info = {VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, NULL, pipeline};
  uint32_t variants = 0;
  DEVICE(device, vkGetPipelineExecutablePropertiesKHR)(device, &info, &variants, NULL);
  for (uint32_t i = 0; i < variants; i++) {
    VkPipelineExecutableInfoKHR variant = {VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, NULL, pipeline, i};
    uint32_t n = 0;
    DEVICE(device, vkGetPipelineExecutableStatisticsKHR)(device, &variant, &n, NULL);
    VkPipelineExecutableStatisticKHR *s = calloc(n, sizeof *s);
    for (uint32_t j = 0; j < n; j++) s[j].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
    DEVICE(device, vkGetPipelineExecutableStatisticsKHR)(device, &variant, &n, s);
    for (uint32_t j = 0; j < n; j++) {
      int is_float = s[j].format == VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR;
      double value = is_float ? s[j].value.f64 : (double)s[j].value.i64;
      fprintf(to, "%s=%.0f%c", s[j].name, value, j + 1 < n ? '\t' : '\n');
    }
    free(s);
  }
}

static VkResult create_pipelines(VkDevice device, VkPipelineCache cache, uint32_t n, const VkComputePipelineCreateInfo *infos, const VkAllocationCallbacks *a, VkPipeline *out) {
  VkComputePipelineCreateInfo *wanted = calloc(n, sizeof *wanted);
  for (uint32_t i = 0; i < n; i++) {
    wanted[i] = infos[i];
    wanted[i].flags |= VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR;
  }
  VkResult r = DEVICE(device, vkCreateComputePipelines)(device, cache, n, wanted, a, out);
  free(wanted);
  const char *path = getenv("GPULAB_STATISTICS");
  FILE *to = path && r == VK_SUCCESS ? fopen(path, "a") : NULL;
  if (to) {
    for (uint32_t i = 0; i < n; i++) write_statistics(to, device, out[i]);
    fclose(to);
  }
  return r;
}

static PFN_vkVoidFunction device_proc(VkDevice device, const char *name) {
  if (!strcmp(name, "vkGetDeviceProcAddr")) return (PFN_vkVoidFunction)device_proc;
  if (!strcmp(name, "vkCreateComputePipelines")) return (PFN_vkVoidFunction)create_pipelines;
  return next_device(device, name);
}

static PFN_vkVoidFunction instance_proc(VkInstance of, const char *name) {
  if (!strcmp(name, "vkGetInstanceProcAddr")) return (PFN_vkVoidFunction)instance_proc;
  if (!strcmp(name, "vkCreateInstance")) return (PFN_vkVoidFunction)create_instance;
  if (!strcmp(name, "vkCreateDevice")) return (PFN_vkVoidFunction)create_device;
  if (!strcmp(name, "vkGetDeviceProcAddr")) return (PFN_vkVoidFunction)device_proc;
  if (!strcmp(name, "vkGetPhysicalDeviceProperties2") || !strcmp(name, "vkGetPhysicalDeviceProperties2KHR"))
    return (PFN_vkVoidFunction)properties2;
  return next_instance ? next_instance(of, name) : NULL;
}

__attribute__((visibility("default"))) VkResult vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *v) {
  v->pfnGetInstanceProcAddr = instance_proc;
  v->pfnGetDeviceProcAddr = device_proc;
  v->pfnGetPhysicalDeviceProcAddr = NULL;
  if (v->loaderLayerInterfaceVersion > 2) v->loaderLayerInterfaceVersion = 2;
  return VK_SUCCESS;
}
